"""Deletions: the keys that were live after the last batch, and that the source no longer has.

`TableKeys` compares the sets of keys; this module decides which keys of the source are read.
"""

import logging

import psycopg

from totes.errors import SourceError
from totes.lake.manifest import File, Table
from totes.postgres.sqlstate import is_caused_by_value
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys
from totes.source.scan import Scan, ScannedTable

log = logging.getLogger(__name__)

_SMALL_TABLE_ROWS = 100
"""A table with more rows may lose more than half of them only with `--accept-deletes`."""


def find_deleted(  # noqa: PLR0913, PLR0917  what was captured, and what there was before
    scan: Scan,
    files: BatchFiles,
    keys: TableKeys,
    table: Table,
    scanned: ScannedTable,
    previous: Table | None,
) -> int | None:
    """Define `deleted` of `keys`, and return its size; None if the rows don't match the keys.

    Of a table that was not captured in full, nothing was deleted if it has as many rows as there
    are live and captured keys together. Then no key is read.
    """
    if table.whole:
        return keys.find_deleted(same_types=_key_types(previous) == _key_types(table))
    live_rows, recorded = (previous.rows, previous.relfilenodes) if previous else (0, "")
    expected = live_rows + keys.count_added()
    if expected == table.rows:
        keys.set_none_deleted()
        return 0
    if expected > table.rows:
        split = scanned.split
        try:
            with scan.connection() as connection, connection.transaction():
                if recorded and recorded == split.relfilenodes:
                    deleted = keys.find_deleted_in_sections(
                        connection, scanned.rows, split.section_blocks, files
                    )
                else:  # rows may have moved
                    deleted = keys.find_deleted_anywhere(connection, split.all_ranges(), files)
        except psycopg.Error as error:
            if not is_caused_by_value(error):
                raise
            return None  # a key can't be read: all rows are captured without that value
        if deleted == expected - table.rows:
            return deleted
    log.warning(
        "Table %s has %d rows, but %d were expected from its live keys and its changes: "
        "captured in full.",
        table.name,
        table.rows,
        expected,
    )
    return None


def check_share(table: str, deleted: int, rows: int) -> None:
    """Raise SourceError if a table lost more than half of its rows since the last batch."""
    if rows > _SMALL_TABLE_ROWS and deleted > rows / 2:
        raise SourceError(
            f"Table {table} lost {deleted} of its {rows} rows since the last batch: nothing "
            "was captured. If this is expected, run `totes ingest --accept-deletes`."
        )


def store_deleted(files: BatchFiles, table: str, keys: TableKeys, deleted: int) -> File:
    """Store the lines of the deleted keys as a file."""
    lines = files.new_path("jsonl")
    keys.write_deletes(lines)
    return files.put_lines(table, lines, rows=deleted, deletes=deleted)


def _key_types(table: Table | None) -> list[str]:
    return [table.column(name).type for name in table.key] if table else []
