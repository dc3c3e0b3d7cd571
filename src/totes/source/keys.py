"""The keys of one table, in three sets: live after the last batch, captured now, deleted since.

The live keys are Parquet files in the ingestion store: `base` files have all keys at one batch,
and later `change` files have the keys that batches added, removed or found in another block. DuckDB
compares the sets.

Every set has the block of the table in which each key's row is. A row that was not written since
the last batch is still in the same block, unless the whole table was rewritten. A section is a run
of adjacent blocks. Its expected rows are the live keys recorded there that this capture did not
read, and the captured keys that are there now. If the source has fewer rows in a section, some were
deleted, and the keys of that section are read.

The key columns are named k0, k1, … in all of these files, in the key's order. Names in the source
may differ by case alone, which DuckDB does not distinguish.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from pathlib import Path

import duckdb
import psycopg

from totes.errors import SourceError
from totes.lake.line import DELETE_WITHOUT_XID, XID
from totes.source.catalogue import INTEGER_TYPES, SourceColumn, SourceTable
from totes.source.changes import (
    DISTANCE_SQL,
    Bucketing,
    find_shared_key,
    read_keys,
)
from totes.source.files import BatchFiles
from totes.source.json_sql import key_names
from totes.source.ranges import RowRange, section_ranges
from totes.sql_text import literal

_MAX_KEY_BYTES = 8 << 20
"""The most bytes of a key as JSON: PostgreSQL indexes at most a third of a page, compressed."""

_KEY_BLOCKS = 4096
"""The number of blocks whose keys one statement reads."""

_BLOCK = "_block"

_UNKNOWN_BLOCK = -1

_MOMENT = "{'_at': _at, '_seq': _seq}"
"""SQL: the place of a change in the log."""

_RAW_COPY_OPTIONS = "(FORMAT csv, HEADER false, DELIMITER '\x02', QUOTE '', ESCAPE '')"
"""COPY options that write text unchanged: JSON contains no control characters."""


class TableKeys:
    """One table's keys in DuckDB: the relations `live`, `captured`, `added_or_moved` and `deleted`.

    All but `deleted` have `_block`, the number of the block in which the row is.
    """

    def __init__(self, engine: duckdb.DuckDBPyConnection, table: SourceTable) -> None:
        self._engine = engine
        self._table = table
        self._names = key_names(table)
        self._keys = ", ".join(self._names)
        self._by_key = f"USING ({self._keys})"
        self._captured = self._live = self._changed = ""
        """The relations as items of FROM. As views, DuckDB would open their files twice."""
        self._all_keys = ""
        """A relation of all keys that the source has, if they were read."""

    @property
    def has_read_all(self) -> bool:
        """Whether all keys of the source were read, with their present blocks."""
        return bool(self._all_keys)

    def extract_keys(self, lines: Path, into: Path, xmax: int | None = None) -> int:
        """Write keys, as in Chunk, to a Parquet file, in the same order; return their number.

        The file has `_block`, and with the snapshot's `xmax` also `_xid`, the 64-bit id of the
        transaction in `xmin`; both are BIGINT.
        """
        columns, xmin = self._read_columns(), "CAST(json->>'xmin' AS BIGINT)"
        rows, block = _raw_lines(lines), "split_part(json->>'ctid', ',', 1)"
        if self._table.has_integer_key:
            columns, xmin, block = list(self._names), "xmin", "block"
            rows = _raw_integers(lines, columns)
        columns.append(f"CAST(substr({block}, 2) AS BIGINT) AS {_BLOCK}")
        if xmax is not None:
            columns.append(f"{xmax} - {DISTANCE_SQL.format(xmax=xmax, xmin=xmin)} AS {XID}")
        return self._copy(f"SELECT {', '.join(columns)} FROM {rows}", into)

    def _read_columns(self) -> list[str]:
        """Return SQL for the key columns of a JSON line."""
        return [
            f"CAST(json->>'{name}' AS {_key_type(column)}) AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        ]

    def flag_new_rows(self, captured: Path, overlap: Path) -> Iterator[bool]:
        """Yield for each row of `captured`, in its order, whether it is not in `overlap`."""
        yield from self._flags(
            f"""
            SELECT overlap.{XID} IS NULL
            FROM read_parquet({literal(captured)}, file_row_number = true) AS captured
            LEFT JOIN {literal(overlap)} AS overlap USING ({self._keys}, {XID})
            ORDER BY captured.file_row_number
            """
        )

    def _flags(self, query: str) -> Iterator[bool]:
        result = self._engine.execute(query)
        while flags := result.fetchmany(10_000):
            yield from (flag for (flag,) in flags)

    def find_kept(
        self, stored: Path, current: Path, oldest_xid: int, *, all_rows: bool
    ) -> tuple[int, int]:
        """Define `kept`: for each row of `stored`, whether the source still has this version.

        `current` has the rows that are in the source now: all of them (`all_rows`), or only those
        written by transaction `oldest_xid` or later. Without all rows, a stored row of an earlier
        transaction counts as kept if its key is not in `current`. Returns how many rows are kept,
        and how many of these were written before `oldest_xid`.
        """
        is_old = f"stored.{XID} < {oldest_xid}"
        otherwise = "false" if all_rows else is_old
        self._define_table(
            "kept",
            f"""
            SELECT stored.file_row_number AS line, {is_old} AS is_old,
                coalesce(current.{XID} = stored.{XID}, {otherwise}) AS is_kept
            FROM read_parquet({literal(stored)}, file_row_number = true) AS stored
            LEFT JOIN {literal(current)} AS current {self._by_key}
            """,
        )
        [(kept, old)] = self._engine.execute(
            "SELECT count(*), count(*) FILTER (is_old) FROM kept WHERE is_kept"
        ).fetchall()
        return kept, old

    def flag_kept_rows(self) -> Iterator[bool]:
        """Yield for each stored row, in the order of the file, whether it is kept."""
        yield from self._flags("SELECT is_kept FROM kept ORDER BY line")

    def write_kept(self, stored: Path, changed: Path, into: Path) -> int:
        """Write the kept rows of `stored`, then those of `changed` that are not in it.

        Both keep their order. Return the number of rows written.
        """
        columns = f"{self._keys}, {_BLOCK}, {XID}"
        return self._copy(
            f"""
            SELECT {columns} FROM (
                SELECT {columns}, 0 AS place, line
                FROM read_parquet({literal(stored)}, file_row_number = true) AS stored
                JOIN kept ON kept.line = stored.file_row_number
                WHERE is_kept
                UNION ALL
                SELECT {columns}, 1, file_row_number
                FROM read_parquet({literal(changed)}, file_row_number = true)
                ANTI JOIN {literal(stored)} AS stored USING ({self._keys}, {XID})
            ) ORDER BY place, line
            """,
            into,
        )

    def define_captured(self, paths: Sequence[Path]) -> None:
        """Define `captured`: key, `_block` and `_xid` of the rows that this capture read."""
        empty = self._no_keys_sql(_BLOCK, XID)
        self._captured = f"({_read_parquet_sql(paths) or empty}) AS captured"

    def define_live(self, base: Sequence[Path], changes: Sequence[Path]) -> None:
        """Define `live`: the keys after the last batch. `changes` are in the order of batches."""
        whole = f"({_read_parquet_sql(base) or self._no_keys_sql(_BLOCK)}) AS whole"
        whole_keys, changed_keys = map(self._keys_of, ("whole", "change"))
        self._live = f"(SELECT {whole_keys}, whole.{_BLOCK} FROM {whole}) AS live"
        if changes:
            order = f"list_position({_list_literal(changes)}, change.filename)"
            self._changed = f"""(
                SELECT {changed_keys}, arg_max(change._live, {order}) AS _live,
                    arg_max(change.{_BLOCK}, {order}) AS {_BLOCK}
                FROM ({_read_parquet_sql(changes)}) AS change GROUP BY {changed_keys}
            ) AS changed"""
            self._live = f"""(
                SELECT {whole_keys}, whole.{_BLOCK}
                FROM {whole} ANTI JOIN {self._changed} {self._by_key}
                UNION ALL
                SELECT {self._keys}, {_BLOCK} FROM {self._changed} WHERE _live
            ) AS live"""

    def _keys_of(self, relation: str) -> str:
        """Return the qualified key columns of a relation.

        If a file lacks an unqualified column, DuckDB would look for it in the other relations.
        """
        return ", ".join(f"{relation}.{name}" for name in self._names)

    def find_added_or_moved(self) -> int:
        """Define `added_or_moved`: the captured keys that are not live, or live in another block.

        Return their number.
        """
        return self._define_table(
            "added_or_moved",
            f"""
            SELECT {self._keys}, captured.{_BLOCK}, live.{_BLOCK} IS NULL AS _is_new
            FROM {self._captured} LEFT JOIN {self._live} {self._by_key}
            WHERE live.{_BLOCK} IS DISTINCT FROM captured.{_BLOCK}
            """,
        )

    def define_logged_changes(self, lines: Path) -> None:
        """Define `logged` from the log's changes of one batch, in any order.

        `lines` has a JSON object for each: k0, k1, …, `at` and `seq`, which order the changes, and
        `op`: insert, update or delete.
        """
        columns = [
            *self._read_columns(),
            "json->>'at' AS _at",
            "CAST(json->>'seq' AS BIGINT) AS _seq",
        ]
        self._define_table(
            "logged", f"SELECT {', '.join(columns)}, json->>'op' AS op FROM {_raw_lines(lines)}"
        )

    def add_truncation(self, at: str, sequence: int) -> int:
        """Add a deletion to `logged` for each key that is live just before a truncation.

        These keys are also in `deleted`. Return their number. Several truncations must be added in
        their order.
        """
        self._define_table(
            "deleted",
            f"""
            WITH before AS (
                SELECT {self._keys}, arg_max(op, {_MOMENT}) AS op
                FROM logged WHERE (_at, _seq) < ($at, $seq) GROUP BY {self._keys}
            )
            SELECT {self._keys} FROM before WHERE op <> 'delete'
            UNION ALL SELECT {self._keys} FROM {self._live} ANTI JOIN before {self._by_key}
            """,
            {"at": at, "seq": sequence},
        )
        return self._count(
            f"INSERT INTO logged SELECT {self._keys}, $at, $seq, 'delete' FROM deleted",
            {"at": at, "seq": sequence},
        )

    def find_logged_changes(self) -> tuple[int, int]:
        """Define `added_or_moved` and `deleted` from `logged`; return their sizes.

        The log has no blocks, and an update may move a row: blocks are unknown after this.
        """
        self._define_table(
            "net",
            f"""
            SELECT {self._keys}, arg_min(op, {_MOMENT}) = 'insert' AS was_absent,
                arg_max(op, {_MOMENT}) <> 'delete' AS is_live
            FROM logged GROUP BY {self._keys}
            """,
        )
        added = self._define_table(
            "added_or_moved",
            f"SELECT {self._keys}, {_UNKNOWN_BLOCK} AS {_BLOCK} FROM net"
            " WHERE was_absent AND is_live",
        )
        self._captured = "added_or_moved AS captured"
        deleted = self._define_table(
            "deleted", f"SELECT {self._keys} FROM net WHERE NOT was_absent AND NOT is_live"
        )
        return added, deleted

    def count_added(self) -> int:
        """Return the number of captured keys that are not live; needs `added_or_moved`."""
        return self._count("SELECT count(*) FROM added_or_moved WHERE _is_new")

    def check_unique(self, connection: psycopg.Connection, rows: int, *, whole: bool) -> None:
        """Raise SourceError if a captured key is NULL, or another row in the source has it, too.

        PostgreSQL enforces a primary key in each table, but not across tables that inherit.
        """
        has_null = " OR ".join(f"{name} IS NULL" for name in self._names)
        if self._count(f"SELECT count(*) FROM {self._captured} WHERE {has_null}"):
            raise SourceError(
                f"A row of table {self._table.name}, or of a table that inherits from it, has NULL "
                f"in the primary key ({', '.join(self._table.key)}): nothing was captured. "
                f"Set a value, or exclude {self._table.name} (TOTES_EXCLUDE_TABLES)."
            )
        bucketing = Bucketing.for_table(self._table, rows)
        candidates = self._captured
        if whole:  # all rows with the key are in `captured`
            candidates = (
                f"(SELECT {self._keys} FROM {self._captured}"
                " GROUP BY ALL HAVING count(*) > 1 LIMIT 1)"
            )
        buckets = self._engine.execute(
            f"SELECT DISTINCT {bucketing.bucket_sql(self._names)} FROM {candidates}"
        ).fetchall()
        bucket_ids = [bucket for (bucket,) in buckets]
        if bucket_ids and (
            shared := find_shared_key(connection, self._table, bucketing, bucket_ids)
        ):
            key, tables = shared
            raise SourceError(
                f"Several rows of table {self._table.name} have the key {key}, in "
                f"{', '.join(tables)}: nothing was captured. PostgreSQL enforces a primary key in "
                "each table, but not across tables that inherit. Change the key of all rows but "
                f"one, or exclude {self._table.name} (TOTES_EXCLUDE_TABLES)."
            )

    def set_none_deleted(self) -> None:
        """Define `deleted` as empty."""
        self._define_table("deleted", self._no_keys_sql())

    def find_deleted(self, *, same_types: bool) -> int:
        """Define `deleted` after all rows of the source were captured; return its size.

        If a key column's type has changed (`same_types` is false), keys are compared as text.
        """
        self._all_keys = self._captured
        is_same_key = " AND ".join(
            f"live.{name} = captured.{name}"
            if same_types
            else f"CAST(live.{name} AS VARCHAR) = CAST(captured.{name} AS VARCHAR)"
            for name in self._names
        )
        return self._define_table(
            "deleted",
            f"SELECT {self._keys} FROM {self._live} ANTI JOIN {self._captured} ON {is_same_key}",
        )

    def find_deleted_in_sections(
        self,
        connection: psycopg.Connection,
        rows: Mapping[int, int],
        section_blocks: int,
        files: BatchFiles,
    ) -> int:
        """Define `deleted` by reading the sections without the expected number of `rows`.

        Return its size. No row may have moved to another block since its block was recorded.
        """
        last = max(rows, default=0)  # if the table became smaller, it has no blocks after this
        expected = self.count_expected_by_section(section_blocks, last)
        sections = [one for one in sorted({*expected, *rows}) if expected[one] != rows.get(one, 0)]
        ranges = list(section_ranges(sections, section_blocks))
        present = self.read_keys(connection, ranges, files)
        where = f"WHERE {_section(section_blocks, last)} IN (SELECT unnest($sections::BIGINT[]))"
        return self._define_deleted(present, where, {"sections": sections})

    def count_expected_by_section(self, section_blocks: int, last: int) -> Counter[int]:
        """Return the number of keys in each section of the table if no row was deleted.

        Keys of sections after `last` are counted in section `last`.
        """
        section = _section(section_blocks, last)
        expected: Counter[int] = Counter()
        # One after the other: a UNION runs both at the same time, in twice the memory.
        for keys in (f"{self._live} ANTI JOIN {self._captured} {self._by_key}", self._captured):
            counts = self._engine.execute(f"SELECT {section}, count(*) FROM {keys} GROUP BY 1")
            expected.update(dict(counts.fetchall()))
        return expected

    def find_deleted_anywhere(
        self, connection: psycopg.Connection, ranges: Sequence[RowRange], files: BatchFiles
    ) -> int:
        """Define `deleted` by reading all keys of the source, in `ranges`; return its size."""
        present = self.read_keys(connection, ranges, files)
        self._all_keys = literal(present)
        return self._define_deleted(present)

    def read_keys(
        self,
        connection: psycopg.Connection,
        ranges: Sequence[RowRange],
        files: BatchFiles,
        xmax: int | None = None,
    ) -> Path:
        """Write the source's keys in some ranges, as `extract_keys` does; return the path."""
        lines, present = files.new_path("jsonl"), files.new_path("parquet")
        most = max((one.blocks for one in ranges), default=1) * (1 + len(self._table.members))
        with lines.open("wb") as file:
            for some_ranges in batched(ranges, max(_KEY_BLOCKS // most, 1)):
                if keys := read_keys(connection, self._table, some_ranges):
                    file.write(keys + b"\n")
        self.extract_keys(lines, present, xmax)
        lines.unlink()
        return present

    def _define_deleted(
        self, present: Path, where: str = "", parameters: dict[str, object] | None = None
    ) -> int:
        return self._define_table(
            "deleted",
            f"""
            SELECT {self._keys} FROM (SELECT {self._keys} FROM {self._live} {where})
            ANTI JOIN {literal(present)} {self._by_key} ANTI JOIN {self._captured} {self._by_key}
            """,
            parameters,
        )

    def write_deletes(self, into: Path, start: str = DELETE_WITHOUT_XID) -> None:
        """Write a line for each key in `deleted`; `start` precedes its first column."""
        columns = zip(self._names, self._table.key_columns, strict=True)
        fields = " || ',' || ".join(
            literal(json.dumps(column.name, ensure_ascii=False) + ":")
            + f" || {_json_sql(name, column)}"
            for name, column in columns
        )
        line = f"{literal(start)} || {fields} || '}}'"
        self._copy(f"SELECT {line} FROM deleted", into, _RAW_COPY_OPTIONS)

    def write_changes(self, into: Path) -> int:
        """Write a change file: the keys that this batch adds, moves and removes."""
        return self._copy(self._changes_sql(), into)

    def write_merged_changes(self, into: Path) -> int:
        """Write a change file that replaces all earlier ones, too; return its number of keys."""
        rows = f"""
            WITH new AS ({self._changes_sql()})
            FROM new UNION ALL SELECT {self._keys}, _live, {_BLOCK}
            FROM {self._changed} ANTI JOIN new {self._by_key}"""
        return self._copy(rows, into)

    def _changes_sql(self) -> str:
        return (
            f"SELECT {self._keys}, true AS _live, {_BLOCK} FROM added_or_moved"
            f" UNION ALL SELECT {self._keys}, false, NULL FROM deleted"
        )

    def write_base(self, into: Path) -> int:
        """Write a base file: all live keys after this batch; return their number."""
        columns = f"{self._keys}, {_BLOCK}"
        if self._all_keys:
            return self._copy(f"SELECT {columns} FROM {self._all_keys}", into)
        return self._copy(
            f"""
            SELECT {columns} FROM {self._captured}
            UNION ALL
            SELECT {columns} FROM {self._live}
            ANTI JOIN {self._captured} {self._by_key} ANTI JOIN deleted {self._by_key}
            """,
            into,
        )

    def write_overlap(self, xmin: int, into: Path) -> int:
        """Write key and `_xid` of captured rows that the next capture reads again.

        These are the rows written by transaction `xmin` or later. Return their number.
        """
        rows = f"SELECT {self._keys}, {XID} FROM {self._captured} WHERE {XID} >= {xmin}"
        return self._copy(rows, into)

    def write_unreadable(self, lines: Path, before: Path | None, into: Path) -> int:
        """Write the unreadable values of the table; return their number.

        `lines` has the values that this capture found, as JSON Lines. `before` has those of the
        last batch; values of rows that were captured again or deleted are omitted.
        """
        columns = [
            *self._read_columns(),
            "json->>'column' AS \"column\"",
            "json->>'reason' AS reason",
        ]
        rows = f"SELECT {', '.join(columns)} FROM {_raw_lines(lines)}"
        if before:
            rows += (
                f" UNION ALL SELECT before.* FROM {literal(before)} AS before"
                f" ANTI JOIN {self._captured} {self._by_key} ANTI JOIN deleted {self._by_key}"
            )
        return self._copy(rows, into)

    def _no_keys_sql(self, *others: str) -> str:
        """Return a query without rows: the key columns, and BIGINT columns."""
        columns = [
            f"NULL::{_key_type(column)} AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        ]
        columns += [f"NULL::BIGINT AS {name}" for name in others]
        return f"SELECT {', '.join(columns)} LIMIT 0"

    def _define_table(
        self, name: str, query: str, parameters: dict[str, object] | None = None
    ) -> int:
        """Create a temporary table from a query; return its rows."""
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", parameters)
        return self._count(f"SELECT count(*) FROM {name}")

    def _copy(self, query: str, into: Path, options: str = "(FORMAT parquet)") -> int:
        return self._count(f"COPY ({query}) TO {literal(into)} {options}")

    def _count(self, statement: str, parameters: dict[str, object] | None = None) -> int:
        ((count,),) = self._engine.execute(statement, parameters).fetchall()
        return int(count)


def _section(section_blocks: int, last: int) -> str:
    """Return SQL for the section of `_block`."""
    return f"least({_BLOCK} // {section_blocks}, {last})"


def _read_parquet_sql(paths: Sequence[Path]) -> str:
    """Return SQL that reads all files in one scan: each branch of a UNION takes its own memory."""
    return f"SELECT * FROM read_parquet({_list_literal(paths)}, filename = true)" if paths else ""


def _raw_lines(path: Path) -> str:
    """Return SQL that reads JSON Lines as text: read_json() takes 32 MB for each thread."""
    return (
        f"read_csv({literal(path)}, columns = {{json: 'JSON'}}, auto_detect = false,"
        " header = false, delim = '\x02', quote = '', escape = '', null_padding = false,"
        f" max_line_size = {_MAX_KEY_BYTES}, buffer_size = {_MAX_KEY_BYTES}, parallel = false)"
    )


def _raw_integers(path: Path, names: Sequence[str]) -> str:
    """Return SQL that reads lines of integers, in a third of the time that JSON takes.

    A line is `names`, `xmin`, and the ctid, which is split at its comma: `7,1234,(0,1)`.
    """
    columns = ", ".join(f"{name}: 'BIGINT'" for name in (*names, "xmin"))
    columns += ", block: 'VARCHAR', row_number: 'VARCHAR'"
    return (
        f"read_csv({literal(path)}, columns = {{{columns}}}, auto_detect = false,"
        " header = false, delim = ',', quote = '', escape = '', null_padding = false,"
        f" buffer_size = {_MAX_KEY_BYTES}, parallel = false)"
    )


def _key_type(column: SourceColumn) -> str:
    return "BIGINT" if column.base in INTEGER_TYPES else "VARCHAR"


def _json_sql(name: str, column: SourceColumn) -> str:
    """Return SQL for a key column as JSON, the same as in the lines of captured rows."""
    text = f"CAST(to_json(CAST({name} AS VARCHAR)) AS VARCHAR)"
    if column.kind == "text":  # NUL precedes the object that replaces an unreadable value
        key = f"CAST({name} AS VARCHAR)"
        return f"CASE WHEN starts_with({key}, chr(0)) THEN substr({key}, 2) ELSE {text} END"
    # The column may have had another type, whose values are strings in JSON.
    is_literal = f"regexp_full_match({name}::VARCHAR, '-?[0-9]+|true|false')"
    return f"CASE WHEN {is_literal} THEN {name}::VARCHAR ELSE {text} END"


def _list_literal(paths: Sequence[Path]) -> str:
    return f"[{', '.join(map(literal, paths))}]"
