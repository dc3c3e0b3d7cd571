"""The keys of one table, in three sets: live after the last batch, captured now, deleted since.

The live keys are Parquet files in the ingestion store: `base` files have all keys at one batch,
and each later `change` file has the keys that one batch added and removed. DuckDB compares the
sets. The source is queried for the number of keys in each bucket, and then for the keys of the
buckets whose numbers differ.

The key columns are named k0, k1, … in all of these files, in the key's order. Names in the source
may differ by case alone, which DuckDB does not distinguish.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import psycopg

from totes.errors import SourceError
from totes.lake.line import DELETE_WITHOUT_XID, XID
from totes.source.catalogue import INTEGER_TYPES, SourceColumn, SourceTable
from totes.source.changes import (
    DISTANCE_SQL,
    Bucketing,
    count_by_bucket,
    find_shared_key,
    key_names,
    read_keys_in_buckets,
    read_table_size,
    split_blocks,
)
from totes.source.files import BatchFiles

_MAX_KEY_BYTES = 8 << 20
"""The most bytes of a key as JSON: PostgreSQL indexes at most a third of a page, compressed."""

_KEY_BLOCKS = 4096
"""The blocks of a table whose keys are read by one statement."""

_RAW_COPY_OPTIONS = "(FORMAT csv, HEADER false, DELIMITER '\x02', QUOTE '', ESCAPE '')"
"""COPY options that write text unchanged: JSON contains no control characters."""


class TableKeys:
    """One table's keys in DuckDB, as the relations `live`, `captured`, `added` and `deleted`."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, table: SourceTable) -> None:
        self._engine = engine
        self._table = table
        self._names = key_names(table)
        self._keys = ", ".join(self._names)
        self._by_key = f"USING ({self._keys})"
        self._captured = self._live = ""
        """The relations as items of FROM. As views, DuckDB would open their files twice."""

    def extract_keys(self, lines: Path, into: Path, xmax: int | None = None) -> int:
        """Write keys, as in Chunk, to a Parquet file, in the same order; return their number.

        With the snapshot's `xmax`, the file also has `_xid` BIGINT, the 64-bit id of the
        transaction in `xmin`.
        """
        columns, xmin = self._read_columns(), "CAST(json->>'xmin' AS BIGINT)"
        rows = _raw_lines(lines)
        if self._table.has_integer_key:
            columns, xmin = list(self._names), "xmin"
            rows = _raw_integers(lines, columns if xmax is None else [*columns, xmin])
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
        result = self._engine.execute(
            f"""
            SELECT overlap.{XID} IS NULL
            FROM read_parquet({_literal(captured)}, file_row_number = true) AS captured
            LEFT JOIN {_literal(overlap)} AS overlap USING ({self._keys}, {XID})
            ORDER BY captured.file_row_number
            """
        )
        while flags := result.fetchmany(10_000):
            yield from (is_new for (is_new,) in flags)

    def define_captured(self, paths: Sequence[Path]) -> None:
        """Define `captured`: key and `_xid` of the rows that this capture read."""
        empty = f"{self._null_keys_sql()}, NULL::BIGINT AS {XID} LIMIT 0"
        self._captured = f"({_read_parquet_sql(paths) or empty}) AS captured"

    def define_live(self, base: Sequence[Path], changes: Sequence[Path]) -> None:
        """Define `live`: the keys after the last batch. `changes` are in the order of batches."""
        whole = _read_parquet_sql(base) or f"{self._null_keys_sql()} LIMIT 0"
        if not changes:
            self._live = f"(SELECT {self._keys} FROM ({whole})) AS live"
            return
        changed = f"({_read_parquet_sql(changes)}) AS changed"
        batch_order = f"list_position({_list_literal(changes)}, filename)"
        self._live = f"""(
            SELECT {self._keys} FROM ({whole}) ANTI JOIN {changed} {self._by_key}
            UNION ALL
            SELECT {self._keys} FROM {changed} GROUP BY ALL HAVING arg_max(_live, {batch_order})
        ) AS live"""

    def count_added(self) -> int:
        """Define `added`: the captured keys that are not live; return their number."""
        return self._define_table(
            "added",
            f"SELECT {self._keys} FROM {self._captured} ANTI JOIN {self._live} {self._by_key}",
        )

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
        self._define_table("deleted", f"{self._null_keys_sql()} LIMIT 0")

    def find_deleted(self, *, same_types: bool) -> int:
        """Define `deleted` after all rows of the source were captured; return its size.

        If a key column's type has changed (`same_types` is false), keys are compared as text.
        """
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

    def find_deleted_by_buckets(
        self, connection: psycopg.Connection, rows: int, files: BatchFiles
    ) -> int:
        """Define `deleted` by comparing with the source bucket by bucket; return its size."""
        bucketing = Bucketing.for_table(self._table, rows)
        actual = count_by_bucket(connection, self._table, bucketing)
        expected = self.count_expected_by_bucket(bucketing)
        bucket_ids = [bucket for bucket, count in expected.items() if actual.get(bucket) != count]
        lines, present = files.new_path("jsonl"), files.new_path("parquet")
        with lines.open("wb") as file:
            for row_range in split_blocks(
                read_table_size(connection, self._table).blocks, _KEY_BLOCKS
            ):
                if keys := read_keys_in_buckets(
                    connection, self._table, bucketing, bucket_ids, row_range
                ):
                    file.write(keys + b"\n")
        self.extract_keys(lines, present)
        bucket, array_type = bucketing.bucket_sql(self._names), f"{bucketing.sql_type}[]"
        return self._define_table(
            "deleted",
            f"""
            SELECT {self._keys} FROM (
                SELECT {self._keys} FROM {self._live}
                WHERE {bucket} IN (SELECT unnest($bucket_ids::{array_type}))
            )
            ANTI JOIN {_literal(present)} {self._by_key}
            """,
            {"bucket_ids": bucket_ids},
        )

    def count_expected_by_bucket(self, bucketing: Bucketing) -> Counter[str | int]:
        """Return the number of keys in each bucket if no key was deleted; needs `added`."""
        bucket = bucketing.bucket_sql(self._names)
        expected: Counter[str | int] = Counter()
        # One after the other: a UNION runs both at the same time, in twice the memory.
        for keys in (self._live, "added"):
            counts = self._engine.execute(f"SELECT {bucket}, count(*) FROM {keys} GROUP BY 1")
            expected.update(dict(counts.fetchall()))
        return expected

    def write_deletes(self, into: Path) -> None:
        """Write a delete line for each key in `deleted`."""
        columns = zip(self._names, self._table.key_columns, strict=True)
        fields = " || ',' || ".join(
            _literal(json.dumps(column.name, ensure_ascii=False) + ":")
            + f" || {_json_sql(name, column)}"
            for name, column in columns
        )
        line = f"{_literal(DELETE_WITHOUT_XID)} || {fields} || '}}'"
        self._copy(f"SELECT {line} FROM deleted", into, _RAW_COPY_OPTIONS)

    def write_changes(self, into: Path) -> int:
        """Write a change file: the keys that this batch adds and removes; return their number."""
        return self._copy(
            f"SELECT {self._keys}, true AS _live FROM added"
            f" UNION ALL SELECT {self._keys}, false FROM deleted",
            into,
        )

    def write_captured(self, into: Path) -> int:
        """Write a base file after all rows of the source were captured; return its rows."""
        return self._copy(f"SELECT {self._keys} FROM {self._captured}", into)

    def write_base(self, into: Path) -> int:
        """Write a base file: all live keys after this batch; return their number."""
        return self._copy(
            f"""
            SELECT {self._keys} FROM {self._captured}
            UNION ALL
            SELECT {self._keys} FROM {self._live}
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

    def write_unreadable(self, found: Path, before: Path | None, into: Path) -> int:
        """Write the unreadable values of the table; return their number.

        `found` has those of this capture, as JSON Lines. `before` has those of the last batch;
        those of rows that were captured again or deleted are omitted.
        """
        columns = [
            *self._read_columns(),
            "json->>'column' AS \"column\"",
            "json->>'reason' AS reason",
        ]
        rows = f"SELECT {', '.join(columns)} FROM {_raw_lines(found)}"
        if before:
            rows += (
                f" UNION ALL SELECT before.* FROM {_literal(before)} AS before"
                f" ANTI JOIN {self._captured} {self._by_key} ANTI JOIN deleted {self._by_key}"
            )
        return self._copy(rows, into)

    def _null_keys_sql(self) -> str:
        columns = (
            f"NULL::{_key_type(column)} AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        )
        return f"SELECT {', '.join(columns)}"

    def _define_table(
        self, name: str, query: str, parameters: dict[str, object] | None = None
    ) -> int:
        """Create a temporary table from a query; return its rows."""
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", parameters)
        return self._count(f"SELECT count(*) FROM {name}")

    def _copy(self, query: str, into: Path, options: str = "(FORMAT parquet)") -> int:
        return self._count(f"COPY ({query}) TO {_literal(into)} {options}")

    def _count(self, statement: str) -> int:
        ((count,),) = self._engine.execute(statement).fetchall()
        return int(count)


def _read_parquet_sql(paths: Sequence[Path]) -> str:
    """Return SQL that reads all files in one scan: each branch of a UNION takes its own memory."""
    return f"SELECT * FROM read_parquet({_list_literal(paths)}, filename = true)" if paths else ""


def _raw_lines(path: Path) -> str:
    """Return SQL that reads JSON Lines as text: read_json() takes 32 MB for each thread."""
    return (
        f"read_csv({_literal(path)}, columns = {{json: 'JSON'}}, auto_detect = false,"
        " header = false, delim = '\x02', quote = '', escape = '', null_padding = false,"
        f" max_line_size = {_MAX_KEY_BYTES}, buffer_size = {_MAX_KEY_BYTES}, parallel = false)"
    )


def _raw_integers(path: Path, names: Sequence[str]) -> str:
    """Return SQL that reads lines of integers: a third of the time that JSON takes."""
    columns = ", ".join(f"{name}: 'BIGINT'" for name in names)
    return (
        f"read_csv({_literal(path)}, columns = {{{columns}}}, auto_detect = false,"
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


def _literal(text: Path | str) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _list_literal(paths: Sequence[Path]) -> str:
    return f"[{', '.join(map(_literal, paths))}]"
