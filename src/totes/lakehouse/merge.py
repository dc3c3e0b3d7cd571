"""Merges batches into the files of one Iceberg table, key range by key range.

Work and memory follow the change: only files that have a changed key are read and replaced, and
what a range of keys needs is in DuckDB, which spills to disk. The result is new data files; nothing
is visible before the commit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import FileScanTask, Table

from totes.duckdb_engine import convert_memory_errors
from totes.errors import LakeError
from totes.lakehouse.files import PARTITION, RANGE, TableFiles
from totes.lakehouse.history import History
from totes.lakehouse.tables import VALID_FROM, engine_types, has_ranges, partition_width
from totes.sql_text import literal, quote
from totes.star.contract import StarTable

SLICE_ROWS = 1_000_000
SLICE_PARTITIONS = 8
"""How many changed rows, and changed partitions, are merged at a time."""

BLOCK_ROWS = 20_480
"""How many rows pass from DuckDB to Arrow at a time."""


@dataclass(frozen=True)
class FetchedBatch:
    """The local files of one batch: rows of the table, and what the contract rejected of it."""

    batch: int
    rows: Sequence[Path]
    rejected: Sequence[Path]


class TableMerge:
    """Merges batches, in their order, into the files of a table.

    `dimensions` are the files of the dimensions that the table refers to, as of the last batch.
    """

    def __init__(
        self,
        engine: duckdb.DuckDBPyConnection,
        star: StarTable,
        files: TableFiles,
        dimensions: Mapping[str, TableFiles],
    ) -> None:
        self._engine = engine
        self._star = star
        self._files = files
        self._dimensions = dimensions
        self._history = History(star)
        self._first_key = quote(star.key_names[0])
        self._execute(self._history.create_quarantine())

    def read_quarantine(self, file: Path) -> None:
        """Begin with the quarantined versions in a file; new columns are NULL in an older file."""
        rows = f"select * from read_parquet({literal(str(file))}, hive_partitioning = false)"
        self._engine.execute(f"insert into quarantine by name {rows}")
        self._engine.execute("create or replace temp table before as from quarantine")

    def write_quarantine(self, file: Path) -> bool | None:
        """Write the quarantined versions to a file, sorted.

        Returns None, and writes nothing, if they are the same as in the file that was read, and
        False if there are none.
        """
        if not self._query("select count(*) from quarantine"):
            return False
        is_known = self._query(
            "select count(*) from duckdb_tables() where temporary and table_name = 'before'"
        )
        if is_known and not self._query(
            "select count(*) from ((from before except from quarantine)"
            " union all (from quarantine except from before))"
        ):
            return None
        self._engine.execute(
            "copy (from quarantine order by _key, _at, _batch)"
            f" to {literal(str(file))} (format parquet)"
        )
        return True

    @property
    def has_waiting(self) -> bool:
        """Whether versions wait for a dimension row."""
        return bool(self._query("select count(*) from quarantine where _waits and not _released"))

    def merge(self, batches: Sequence[FetchedBatch]) -> None:
        """Merge batches."""
        with convert_memory_errors(f"Publishing {self._star.name}"):
            self._define_rows(batches)
            waits = self._find_waiting()
            self._define_quarantined(waits)
            staged = (
                "create or replace temp table staged as"
                f" select {self._history.columns}, {VALID_FROM},"
                f" _op, _batch, cast(null as timestamptz) as valid_to, {waits} as _waits"
                " from batch_rows as r where "
            )
            if self._query("select count(*) from quarantined"):
                self._engine.execute(staged + self._is_quarantined)
                self._stage_released(batches[-1].batch, waits)
                self._merge_staged(self._quarantined_batches())
            for between in self._slices():
                self._engine.execute(f"{staged} not {self._is_quarantined} and {between}")
                self._merge_staged([None])

    @property
    def _is_quarantined(self) -> str:
        return f"({self._history.key_text('r')} in (select _key from quarantined))"

    def _define_rows(self, batches: Sequence[FetchedBatch]) -> None:
        """Define the views `batch_rows` and `rejected` of the batches' files."""
        empty = (
            f"{self._star.empty_query[: -len(' where false')]},"
            " cast(null as timestamptz) as valid_from, cast(null as varchar) as _op where false"
        )
        rows = ((batch.batch, batch.rows) for batch in batches)
        self._define("batch_rows", rows, empty)
        none = (
            "select cast(null as varchar) as star_table, cast(null as varchar) as key,"
            " cast(null as timestamptz) as valid_from where false"
        )
        self._define("all_rejected", ((batch.batch, batch.rejected) for batch in batches), none)
        name = literal(self._star.name)
        if self._query(f"select count(*) from all_rejected where star_table <> {name}"):
            raise LakeError(
                f"A file of rejected rows of {self._star.name} in the batches"
                f" {batches[0].batch} to {batches[-1].batch} has rows of another table: restore it "
                "from a backup, or run totes replay."
            )
        self._engine.execute(
            "create or replace temp view rejected as"
            " select key as _key, valid_from as _at, _batch from all_rejected"
        )

    def _define(self, view: str, batches: Iterable[tuple[int, Sequence[Path]]], empty: str) -> None:
        numbers = {str(path): batch for batch, paths in batches for path in paths}
        if not numbers:
            source = f"select *, cast(null as bigint) as _batch from ({empty})"
        else:
            paths = ", ".join(map(literal, numbers))
            values = ", ".join(f"({literal(path)}, {batch})" for path, batch in numbers.items())
            source = (
                f"select r.* exclude (_path), cast(b.batch as bigint) as _batch"
                f" from read_parquet([{paths}], hive_partitioning = false, filename = '_path') as r"
                f" join (values {values}) as b (path, batch) on r._path = b.path"
            )
        self._engine.execute(f"create or replace temp view {view} as {source}")

    def _find_waiting(self) -> str:
        """Return SQL that is true for a row that refers to a missing dimension row.

        Missing keys of each dimension are found first: those that rows of the batches, or waiting
        versions, refer to.
        """
        conditions = []
        for number, (name, dimension) in enumerate(self._dimensions.items()):
            columns = [c.quoted for c in self._star.columns if c.references == name]
            upserts = "from batch_rows where _op = 'upsert'"
            waiting = "from quarantine where _waits and not _released"
            values = " union ".join(
                f"select {column} as value {rows}"
                for column in columns
                for rows in (upserts, waiting)
            )
            missing = f"missing_{number}"
            self._engine.execute(
                f"create or replace temp table {missing} as"
                f" select value from ({values}) where value is not null"
            )
            self._remove_existing(missing, dimension)
            if self._query(f"select count(*) from {missing}"):
                conditions += [
                    f"coalesce({column} in (select value from {missing}), false)"
                    for column in columns
                ]
        return f"(_op = 'upsert' and ({' or '.join(conditions)}))" if conditions else "false"

    def _remove_existing(self, missing: str, dimension: TableFiles) -> None:
        """Delete from a table of keys those that a dimension has."""
        for task in self._find_files(dimension, missing, "value"):
            self._register(dimension.read(task, [dimension.key]))
            existing = f"select {quote(dimension.key)} from incoming"
            self._engine.execute(f"delete from {missing} where value in ({existing})")

    def _define_quarantined(self, waits: str) -> None:
        """Define the keys that are, or come into, quarantine: their order of batches matters."""
        key = self._history.key_text("r")
        self._engine.execute(
            "create or replace temp table quarantined as"
            " select _key from quarantine union select _key from rejected"
            f" union select {key} from batch_rows as r where {waits}"
        )

    def _stage_released(self, batch: int, waits: str) -> None:
        """Stage the waiting versions whose dimension rows exist now, with the last batch."""
        columns, key = self._history.columns, self._history.key_text("s")
        self._engine.execute(
            f"insert into staged by name select distinct on (_key, _at) {columns},"
            f" _at as {VALID_FROM}, 'upsert' as _op, {batch} as _batch, false as _waits"
            f" from (select *, 'upsert' as _op from quarantine) as q"
            f" where _waits and not _released and not {waits} and not exists ("
            f" select 1 from staged as s where {key} = q._key and s.{VALID_FROM} = q._at)"
            " order by _key, _at, q._batch desc"
        )

    def _quarantined_batches(self) -> list[int | None]:
        rows = self._engine.execute(
            "select _batch from staged union select _batch from rejected order by 1"
        ).fetchall()
        return [batch for (batch,) in rows]

    def _slices(self) -> Iterator[str]:
        """Yield conditions for ranges of keys that are merged one after the other."""
        key = self._first_key
        part = "true"
        if has_ranges(self._star):
            part = f"{key} // {partition_width(self._files.table)}"
        groups = self._engine.execute(
            f"select min({key}), max({key}), count(*) from batch_rows as r"
            f" where not {self._is_quarantined} group by {part} order by 1"
        ).fetchall()
        while groups:
            first, last, rows = groups.pop(0)
            parts = 1
            while groups and parts < SLICE_PARTITIONS and rows + groups[0][2] <= SLICE_ROWS:
                _, last, more = groups.pop(0)
                rows, parts = rows + more, parts + 1
            self._engine.execute(
                "create or replace temp table slice as select $first as lower, $last as upper",
                {"first": first, "last": last},
            )
            yield f"{key} between (select lower from slice) and (select upper from slice)"

    def _merge_staged(self, batches: Iterable[int | None]) -> None:
        """Place the staged rows, and write what changes into new files."""
        self._check_unique()
        tasks = self._read_old()
        for batch in batches:
            self._execute(self._history.place(batch))
        dirty = self._engine.execute("select distinct _file from dirty").fetchall()
        is_changed = dirty or self._query("select count(*) from old where _file is null")
        if is_changed:
            reader = self._engine.sql(self._changed_rows()).to_arrow_reader(BLOCK_ROWS)
            self._files.write(reader)
        for (number,) in dirty:
            self._files.remove(tasks[number])
        self._engine.execute("drop table old")

    def _check_unique(self) -> None:
        key = self._history.key
        twice = self._engine.execute(
            f"select cast(({key}) as varchar), _batch from staged where _op = 'upsert'"
            f" group by {key}, {VALID_FROM}, _batch having count(*) > 1 limit 1"
        ).fetchall()
        for value, batch in twice:
            raise LakeError(
                f"Batch {batch} has two versions of one row of {self._star.name} with the same "
                f"valid_from: {', '.join(self._star.key_names)} {value}. If its model can return "
                "a row twice, correct the model and run totes replay."
            )

    def _read_old(self) -> list[FileScanTask]:
        """Fill `old` with the rows of all files that have a staged key; return these files."""
        self._execute(self._history.create_old())
        tasks = [
            task
            for task in self._find_files(self._files, "staged", self._first_key)
            if self._has_staged_key(task)
        ]
        self._engine.execute(
            "create or replace temp table ranges as"
            f" select 0 as _file, {self._first_key} as lower, {self._first_key} as upper"
            " from staged where false"
        )
        for number, task in enumerate(tasks):
            self._register(self._files.read(task))
            self._engine.execute(
                f"insert into old by name select {number} as _file, * from incoming"
            )
            self._engine.execute(
                f"insert into ranges select {number}, min({self._first_key}),"
                f" max({self._first_key}) from old where _file = {number}"
            )
        return tasks

    def _find_files(self, files: TableFiles, relation: str, column: str) -> list[FileScanTask]:
        """Return the files whose range of keys has a value of a relation's column."""
        limits = f"select min({column}), max({column}) from {relation}"
        [(first, last)] = self._engine.execute(limits).fetchall()
        if first is None:
            return []
        between = (
            f"select count(*) from (select 1 from {relation}"
            f" where {column} >= $first and {column} <= $last limit 1)"
        )
        found = []
        for task in files.find_overlapping(first, last):
            lower, upper = files.bounds(task.file)
            limit = {
                "first": first if lower is None else lower,
                "last": last if upper is None else upper,
            }
            if self._query(between, limit):
                found.append(task)
        return found

    def _has_staged_key(self, task: FileScanTask) -> bool:
        self._register(self._files.read(task, self._star.key_names))
        key = self._history.key
        return bool(
            self._query(
                f"select count(*) from (select 1 from incoming where ({key}) in"
                f" (select ({key}) from staged) limit 1)"
            )
        )

    def _changed_rows(self) -> str:
        """Return SQL for the rows of the files that are replaced, and for new rows.

        A new row goes into the file that replaces one with its range of keys, if there is one.
        """
        home = (
            "coalesce(o._file, (select min(r._file) from ranges as r semi join dirty using (_file)"
            f" where o.{self._first_key} between r.lower and r.upper), -1)"
        )
        changed = "(from old where _file is null or _file in (from dirty))"
        return rows_in_order(self._star, self._files.table, changed, home)

    def _register(self, rows: pa.Table) -> None:
        self._engine.register("incoming", rows)

    def _execute(self, statements: Iterable[str]) -> None:
        for statement in statements:
            self._engine.execute(statement)

    def _query(self, query: str, parameters: Mapping[str, Any] | None = None) -> int:
        [(number,)] = self._engine.execute(query, parameters or {}).fetchall()
        return int(number)


def rows_in_order(star: StarTable, table: Table, rows: str, range_of: str) -> str:
    """Return SQL for rows as `TableFiles.write` expects them; `range_of` is SQL for RANGE."""
    columns = ", ".join(f"o.{quote(name)}" for name in engine_types(star))
    key = f"o.{quote(star.key_names[0])}"
    width = partition_width(table) if has_ranges(star) else None
    partition = f"{key} - ({key} % {width} + {width}) % {width}" if width else "0"
    order = [*star.key_names, *([VALID_FROM] if star.is_fact else [])]
    return (
        f"select {columns}, cast({partition} as bigint) as {PARTITION},"
        f" cast({range_of} as bigint) as {RANGE} from {rows} as o"
        f" order by {PARTITION}, {RANGE}, {', '.join(f'o.{quote(name)}' for name in order)}"
    )
