"""The keys of one table as sets: live after the last batch, carried by this one, gone from it.

The live set lies in the ingestion store as Parquet: `base` files hold it whole, and each later
`change` file what one batch added and removed. DuckDB compares the sets; from the source come
only counts per bucket of keys, and then the keys of those buckets whose counts differ.

In all of these files the key columns are named k0, k1, … in the key's order: names of the
source, which may differ by case alone, stay out of DuckDB.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import psycopg

from totes.source.catalogue import SourceTable
from totes.source.changes import Bucketing, bucket_counts, keys_in_buckets
from totes.source.files import BatchFiles

LARGEST_LINE = 16 << 20
"""Bytes of the longest JSON line that DuckDB makes room for unless told of a longer one."""

_RAW = "(FORMAT csv, HEADER false, DELIMITER '\x02', QUOTE '', ESCAPE '')"
"""COPY options that write text as it is: a line of JSON holds no control character."""


class TableKeys:
    """One table's keys in an engine of its own, as relations `live`, `carried` and `gone`."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, table: SourceTable) -> None:
        self._engine = engine
        self._table = table
        self._names = [f"k{position}" for position in range(len(table.key))]
        self._keys = ", ".join(self._names)

    def extract(self, lines: Path, into: Path, longest: int = LARGEST_LINE) -> int:
        """Write key and `_xid` BIGINT of each JSON line to the Parquet `into`; returns how many."""
        return self._copy(f"SELECT {self._extracted()} FROM {_json_lines(lines, longest)}", into)

    def drop_repeats(self, lines: Path, repeats: Path, into: Path, longest: int) -> int:
        """Copy the JSON lines whose key and `_xid` are not in `repeats`; returns how many."""
        fresh = f"""
            SELECT json FROM (SELECT json, {self._extracted()} FROM {_json_lines(lines, longest)})
            ANTI JOIN '{repeats}' USING ({self._keys}, _xid)
        """
        return self._count(f"COPY ({fresh}) TO '{into}' {_RAW}")

    def carry(self, carried: Sequence[Path]) -> None:
        """Define `carried`: the keys (and `_xid`) of the rows that this capture read."""
        self._view("carried", _union(carried) or f"{self._nothing()}, NULL::BIGINT AS _xid LIMIT 0")

    def open_live(self, base: Sequence[Path], changes: Sequence[Path]) -> None:
        """Define `live`: the keys after the last batch; `changes` oldest first."""
        whole = _union(base) or f"{self._nothing()} LIMIT 0"
        if not changes:
            self._view("live", f"SELECT {self._keys} FROM ({whole})")
            return
        changed = " UNION ALL ".join(
            f"SELECT {self._keys}, _live, {position} AS position FROM '{path}'"
            for position, path in enumerate(changes)
        )
        self._view("changed", changed)
        self._view(
            "live",
            f"""
            SELECT {self._keys} FROM ({whole}) ANTI JOIN changed USING ({self._keys})
            UNION ALL
            SELECT {self._keys} FROM changed GROUP BY ALL HAVING arg_max(_live, position)
            """,
        )

    def added(self) -> int:
        """How many carried keys are not live."""
        return self._count(f"SELECT count(*) FROM carried ANTI JOIN live USING ({self._keys})")

    def none_gone(self) -> None:
        """Define `gone` as empty."""
        self._define_gone(f"SELECT {self._keys} FROM live LIMIT 0")

    def gone_from_carried(self) -> int:
        """Define `gone` where every row of the source was carried; returns its size."""
        return self._define_gone(
            f"SELECT {self._keys} FROM live ANTI JOIN carried USING ({self._keys})"
        )

    def gone_by_buckets(self, connection: psycopg.Connection, rows: int, files: BatchFiles) -> int:
        """Define `gone` by comparing with the source bucket by bucket; returns its size."""
        bucketing = Bucketing.of(self._table, rows)
        bucket = bucketing.of_keys(self._names)
        here = bucket_counts(connection, self._table, bucketing)
        differing = self._engine.execute(
            f"""
            SELECT bucket
            FROM (SELECT CAST({bucket} AS VARCHAR) AS bucket, count(*) AS n
                  FROM (SELECT {self._keys} FROM live UNION SELECT {self._keys} FROM carried)
                  GROUP BY 1) AS known
            LEFT JOIN (SELECT unnest($buckets) AS bucket, unnest($counts) AS n) AS here
                USING (bucket)
            WHERE known.n <> coalesce(here.n, 0)
            """,
            {"buckets": [name for name, _ in here], "counts": [count for _, count in here]},
        ).fetchall()
        chosen = [name for (name,) in differing]
        lines, present = files.local("jsonl"), files.local("parquet")
        lines.write_bytes(keys_in_buckets(connection, self._table, bucketing, chosen))
        self.extract(lines, present)
        return self._define_gone(
            f"""
            SELECT {self._keys} FROM live ANTI JOIN '{present}' USING ({self._keys})
            WHERE list_contains($chosen, CAST({bucket} AS VARCHAR))
            """,
            {"chosen": chosen},
        )

    def write_deletes(self, into: Path) -> None:
        """One JSON line for each key in `gone`."""
        columns = ", ".join(
            f"CAST({name} AS {'INTEGER' if column.kind == 'integer' else 'VARCHAR'})"
            f" AS {_quoted(column.name)}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        )
        self._engine.execute(
            f"COPY (SELECT 'delete' AS _op, NULL AS _xid, {columns} FROM gone)"
            f" TO '{into}' (FORMAT json)"
        )

    def write_changes(self, into: Path) -> int:
        """A change file: the keys this batch added and removed; returns how many."""
        return self._copy(
            f"""
            SELECT {self._keys}, true AS _live FROM carried ANTI JOIN live USING ({self._keys})
            UNION ALL SELECT {self._keys}, false FROM gone
            """,
            into,
        )

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

    def _extracted(self) -> str:
        keys = (
            f"CAST(json->>{_pointer(column.name)} AS {_key_type(column.base)}) AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        )
        return ", ".join([*keys, "CAST(json->>'/_xid' AS BIGINT) AS _xid"])

    def _nothing(self) -> str:
        columns = (
            f"NULL::{_key_type(column.base)} AS {name}"
            for name, column in zip(self._names, self._table.key_columns, strict=True)
        )
        return f"SELECT {', '.join(columns)}"

    def _view(self, name: str, query: str) -> None:
        self._engine.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    def _define_gone(self, query: str, parameters: dict[str, object] | None = None) -> int:
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE gone AS {query}", parameters)
        return self._count("SELECT count(*) FROM gone")

    def _copy(self, query: str, into: Path) -> int:
        return self._count(f"COPY ({query}) TO '{into}' (FORMAT parquet)")

    def _count(self, statement: str) -> int:
        ((count,),) = self._engine.execute(statement).fetchall()
        return int(count)


def _union(paths: Sequence[Path]) -> str:
    return " UNION ALL ".join(f"SELECT * FROM '{path}'" for path in paths)


def _json_lines(path: Path, longest: int) -> str:
    return f"read_ndjson_objects('{path}', maximum_object_size={max(longest, LARGEST_LINE)})"


def _key_type(base: str) -> str:
    return "BIGINT" if base in {"int2", "int4", "int8"} else "VARCHAR"


def _pointer(name: str) -> str:
    """A JSON pointer to a member, as an SQL literal; exact about case, unlike column names."""
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    return "'" + pointer.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
