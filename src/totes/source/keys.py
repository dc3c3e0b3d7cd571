"""The keys of one table as sets: live after the last batch, carried by this one, gone from it.

The live set lies in the ingestion store as Parquet: `base` files hold it whole, and each later
`change` file what one batch added and removed. DuckDB compares the sets; from the source come
only counts per bucket of keys, and then the keys of those buckets whose counts differ.

In all of these files the key columns are named k0, k1, … in the key's order: names of the
source, which may differ by case alone, stay out of DuckDB.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import psycopg

from totes.errors import SourceError
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import (
    DISTANCE,
    XID,
    Bucketing,
    bucket_counts,
    find_shared_key,
    key_names,
    keys_in_buckets,
    split,
    table_size,
)
from totes.source.files import BatchFiles

_LONGEST_KEY = 8 << 20
"""Bytes of a line of JSON that holds any key PostgreSQL can index (a page's third, compressed)."""

_KEY_BLOCKS = 4096
"""Blocks of a table whose keys are read at a time."""

_RAW = "(FORMAT csv, HEADER false, DELIMITER '\x02', QUOTE '', ESCAPE '')"
"""COPY options that write text as it is: a line of JSON holds no control character."""


class TableKeys:
    """One table's keys in a connection of its own, as relations `live`, `carried` and `gone`."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, table: SourceTable) -> None:
        self._engine = engine
        self._table = table
        self._names = key_names(table)
        self._keys = ", ".join(self._names)

    def extract(self, lines: Path, into: Path, current: int | None = None) -> int:
        """Write the keys of JSON Lines to the Parquet `into`, in their order; returns how many.

        With the snapshot's xmax as `current` also `_xid` BIGINT, the 64-bit number of their `xmin`.
        """
        columns = self._read_columns()
        if current is not None:
            ago = DISTANCE.format(current=current, xmin="CAST(json->>'xmin' AS BIGINT)")
            columns.append(f"{current} - {ago} AS {XID}")
        return self._copy(f"SELECT {', '.join(columns)} FROM {_raw_lines(lines)}", into)

    def _read_columns(self) -> list[str]:
        """SQL: the key columns of a JSON line."""
        return [
            f"CAST(json->>'{name}' AS {_key_type(column)}) AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        ]

    def freshness(self, carried: Path, repeats: Path) -> Iterator[bool]:
        """For each row of an extract, in its order: whether it is not among the repeats."""
        found = self._engine.execute(
            f"""
            SELECT repeated._xid IS NULL
            FROM read_parquet({_literal(carried)}, file_row_number = true) AS carried
            LEFT JOIN {_literal(repeats)} AS repeated USING ({self._keys}, {XID})
            ORDER BY carried.file_row_number
            """
        )
        while flags := found.fetchmany(10_000):
            yield from (fresh for (fresh,) in flags)

    def carry(self, carried: Sequence[Path]) -> None:
        """Define `carried`: the keys (and `_xid`) of the rows that this capture read."""
        self._view("carried", _rows(carried) or f"{self._nothing()}, NULL::BIGINT AS _xid LIMIT 0")

    def open_live(self, base: Sequence[Path], changes: Sequence[Path]) -> None:
        """Define `live`: the keys after the last batch; `changes` oldest first."""
        whole = _rows(base) or f"{self._nothing()} LIMIT 0"
        if not changes:
            self._view("live", f"SELECT {self._keys} FROM ({whole})")
            return
        self._view("changed", _rows(changes))
        oldest_first = f"list_position({_literals(changes)}, filename)"
        self._view(
            "live",
            f"""
            SELECT {self._keys} FROM ({whole}) ANTI JOIN changed USING ({self._keys})
            UNION ALL
            SELECT {self._keys} FROM changed GROUP BY ALL HAVING arg_max(_live, {oldest_first})
            """,
        )

    def added(self) -> int:
        """How many carried keys are not live."""
        return self._count(f"SELECT count(*) FROM carried ANTI JOIN live USING ({self._keys})")

    def check_unique(self, connection: psycopg.Connection, rows: int, *, whole: bool) -> None:
        """SourceError where a carried key is NULL, or another row of the source has it, too.

        PostgreSQL enforces a primary key in each table, not across tables that inherit.
        """
        missing = " OR ".join(f"{name} IS NULL" for name in self._names)
        if self._count(f"SELECT count(*) FROM carried WHERE {missing}"):
            raise SourceError(
                f"A row of table {self._table.name}, or of a table that inherits from it, has no "
                f"value in the primary key ({', '.join(self._table.key)}): nothing was captured. "
                f"Give it one, or exclude {self._table.name} (TOTES_EXCLUDE_TABLES)."
            )
        bucketing = Bucketing.of(self._table, rows)
        among = "carried"
        if whole:  # both rows are carried
            among = f"(SELECT {self._keys} FROM carried GROUP BY ALL HAVING count(*) > 1 LIMIT 1)"
        buckets = self._engine.execute(
            f"SELECT DISTINCT {bucketing.of_keys(self._names)} FROM {among}"
        ).fetchall()
        chosen = [bucket for (bucket,) in buckets]
        if chosen and (found := find_shared_key(connection, self._table, bucketing, chosen)):
            key, tables = found
            raise SourceError(
                f"Several rows of table {self._table.name} have the key {key}, in "
                f"{', '.join(tables)}: nothing was captured. PostgreSQL enforces a primary key in "
                "each table, not across tables that inherit. Change the key of all rows but one, "
                f"or exclude {self._table.name} (TOTES_EXCLUDE_TABLES)."
            )

    def none_gone(self) -> None:
        """Define `gone` as empty."""
        self._define_gone(f"SELECT {self._keys} FROM live LIMIT 0")

    def gone_from_carried(self, *, same_types: bool) -> int:
        """Define `gone` where every row of the source was carried; returns its size.

        Keys whose columns have got another type are compared as text.
        """
        same = " AND ".join(
            f"live.{name} = carried.{name}"
            if same_types
            else f"CAST(live.{name} AS VARCHAR) = CAST(carried.{name} AS VARCHAR)"
            for name in self._names
        )
        return self._define_gone(f"SELECT {self._keys} FROM live ANTI JOIN carried ON {same}")

    def gone_by_buckets(self, connection: psycopg.Connection, rows: int, files: BatchFiles) -> int:
        """Define `gone` by comparing with the source bucket by bucket; returns its size."""
        bucketing = Bucketing.of(self._table, rows)
        here = bucket_counts(connection, self._table, bucketing)
        known = self.known_by_bucket(bucketing)
        chosen = [name for name, count in known.items() if here.get(name) != count]
        lines, present = files.local("jsonl"), files.local("parquet")
        with lines.open("wb") as file:
            for span in split(table_size(connection, self._table).blocks, _KEY_BLOCKS):
                if found := keys_in_buckets(connection, self._table, bucketing, chosen, span):
                    file.write(found + b"\n")
        self.extract(lines, present)
        among = f"{bucketing.of_keys(self._names)} IN (SELECT unnest($chosen::{bucketing.type}[]))"
        return self._define_gone(
            f"""
            SELECT {self._keys} FROM (SELECT {self._keys} FROM live WHERE {among})
            ANTI JOIN {_literal(present)} USING ({self._keys})
            """,
            {"chosen": chosen},
        )

    def known_by_bucket(self, bucketing: Bucketing) -> Counter[str | int]:
        """How many keys there are in each bucket if nothing is gone."""
        bucket = bucketing.of_keys(self._names)
        known: Counter[str | int] = Counter()
        # One after the other: a UNION runs them at once, in twice the memory.
        for keys in ("live", f"carried ANTI JOIN live USING ({self._keys})"):
            counts = self._engine.execute(f"SELECT {bucket}, count(*) FROM {keys} GROUP BY 1")
            known.update(dict(counts.fetchall()))
        return known

    def write_deletes(self, into: Path) -> None:
        """One JSON line for each key in `gone`."""
        columns = zip(self._names, self._table.key_columns, strict=True)
        members = " || ',' || ".join(
            _literal(json.dumps(column.name, ensure_ascii=False) + ":")
            + f" || {_json(name, column)}"
            for name, column in columns
        )
        line = f"""'{{"_op":"delete","_xid":null,' || {members} || '}}'"""
        self._copy(f"SELECT {line} FROM gone", into, _RAW)

    def write_changes(self, into: Path) -> int:
        """A change file: the keys this batch added and removed; returns how many."""
        return self._copy(
            f"""
            SELECT {self._keys}, true AS _live FROM carried ANTI JOIN live USING ({self._keys})
            UNION ALL SELECT {self._keys}, false FROM gone
            """,
            into,
        )

    def write_carried(self, into: Path) -> int:
        """The whole live set where every row of the source was carried; returns its size."""
        return self._copy(f"SELECT {self._keys} FROM carried", into)

    def write_base(self, into: Path) -> int:
        """The whole live set as it is after this batch; returns its size."""
        return self._copy(
            f"""
            SELECT {self._keys} FROM carried
            UNION ALL
            SELECT {self._keys} FROM live
            ANTI JOIN carried USING ({self._keys}) ANTI JOIN gone USING ({self._keys})
            """,
            into,
        )

    def write_repeats(self, xmin: int, into: Path) -> int:
        """Key and `_xid` of carried rows from `xmin` up, which the next capture reads again."""
        return self._copy(f"SELECT {self._keys}, _xid FROM carried WHERE _xid >= {xmin}", into)

    def write_unreadable(self, found: Path, before: Path | None, into: Path) -> int:
        """Write unreadable values: those `found` now (JSON Lines), and those known `before`.

        The latter without the rows that were read again or deleted.
        """
        columns = [
            *self._read_columns(),
            "json->>'column' AS \"column\"",
            "json->>'reason' AS reason",
        ]
        rows = f"SELECT {', '.join(columns)} FROM {_raw_lines(found)}"
        if before:
            rows += (
                f" UNION ALL SELECT known.* FROM {_literal(before)} AS known"
                f" ANTI JOIN carried USING ({self._keys}) ANTI JOIN gone USING ({self._keys})"
            )
        return self._copy(rows, into)

    def _nothing(self) -> str:
        columns = (
            f"NULL::{_key_type(column)} AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        )
        return f"SELECT {', '.join(columns)}"

    def _view(self, name: str, query: str) -> None:
        self._engine.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    def _define_gone(self, query: str, parameters: dict[str, object] | None = None) -> int:
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {query}", parameters)
        return self._count("SELECT count(*) FROM gone")

    def _copy(self, query: str, into: Path, options: str = "(FORMAT parquet)") -> int:
        return self._count(f"COPY ({query}) TO {_literal(into)} {options}")

    def _count(self, statement: str) -> int:
        ((count,),) = self._engine.execute(statement).fetchall()
        return int(count)


def _rows(paths: Sequence[Path]) -> str:
    """The rows of all these files, in one scan: each branch of a UNION takes its own memory."""
    return f"SELECT * FROM read_parquet({_literals(paths)}, filename = true)" if paths else ""


def _raw_lines(path: Path) -> str:
    """JSON Lines read as text: DuckDB's own reader of them takes 32 MB for each thread."""
    return (
        f"read_csv({_literal(path)}, columns = {{json: 'JSON'}}, auto_detect = false,"
        " header = false, delim = '\x02', quote = '', escape = '', null_padding = false,"
        f" max_line_size = {_LONGEST_KEY}, buffer_size = {_LONGEST_KEY}, parallel = false)"
    )


def _key_type(column: SourceColumn) -> str:
    return "BIGINT" if column.base in {"int2", "int4", "int8"} else "VARCHAR"


def _json(name: str, column: SourceColumn) -> str:
    """A key column as JSON text, as the source's lines have it."""
    text = f"CAST(to_json(CAST({name} AS VARCHAR)) AS VARCHAR)"
    if column.kind == "text":  # NUL precedes the object in place of an unreadable value
        key = f"CAST({name} AS VARCHAR)"
        return f"CASE WHEN starts_with({key}, chr(0)) THEN substr({key}, 2) ELSE {text} END"
    # A key of the column's former type may be no literal.
    literal = f"regexp_full_match({name}::VARCHAR, '-?[0-9]+|true|false')"
    return f"CASE WHEN {literal} THEN {name}::VARCHAR ELSE {text} END"


def _literal(text: Path | str) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def _literals(paths: Sequence[Path]) -> str:
    return f"[{', '.join(map(_literal, paths))}]"
