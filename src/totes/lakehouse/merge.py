"""Merges batches into the files of one Iceberg table, key range by key range.

Work and memory follow the change: only files that have a changed key are read and replaced, and
what a range of keys needs is in DuckDB, which spills to disk. The result is new data files; nothing
is visible before the commit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from psycopg import sql
from pyiceberg.table import FileScanTask, Table

from totes.duckdb_engine import convert_memory_errors
from totes.errors import LakeError
from totes.lakehouse.files import TableFiles
from totes.lakehouse.history import History
from totes.lakehouse.tables import VALID_FROM, engine_types, has_ranges, partition_width
from totes.star.batch_files import QUARANTINE_COLUMNS, VERSION_COLUMNS, column_types
from totes.star.contract import StarTable
from totes.star.history import qualified
from totes.star.statement import statement

SLICE_ROWS = 1_000_000
SLICE_PARTITIONS = 8
"""How many changed rows, and changed partitions, are merged at a time."""

BLOCK_ROWS = 20_480
"""How many rows pass from DuckDB to Arrow at a time."""


@dataclass(frozen=True)
class FetchedBatch:
    """The local files of one batch: rows of the table, and what the contract rejected of it."""

    batch: int
    captured_at: datetime
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
        self._history = History(engine, star)
        self._is_quarantine_read = False
        self._history.execute("create_tables")

    def read_quarantine(self, file: Path) -> None:
        """Begin with the quarantined versions in a file."""
        self._history.execute("read_quarantine", path=str(file))
        self._is_quarantine_read = True

    def write_quarantine(self, file: Path) -> bool | None:
        """Write the quarantined versions to a file, sorted.

        Returns None, and writes nothing, if they are the same as in the file that was read, and
        False if there are none.
        """
        if not self._history.exists("quarantine"):
            return False
        if self._is_quarantine_read and not self._history.execute("find_quarantine_changes"):
            return None
        rows = sql.SQL("FROM quarantine ORDER BY key, valid_from, batch")
        self._history.query(sql.SQL("COPY ({}) TO {} (FORMAT parquet)").format(rows, str(file)))
        return True

    @property
    def has_waiting(self) -> bool:
        """Whether versions wait for a dimension row."""
        return self._history.exists("quarantine WHERE version IS NOT NULL AND released_at IS NULL")

    def merge(self, batches: Sequence[FetchedBatch]) -> None:
        """Merge batches.

        Keys that are, or come into, quarantine are merged batch by batch, all others at once.
        Raises LakeError if a file has rows of another table, or a row has two versions with the
        same valid_from.
        """
        with convert_memory_errors(f"Publishing {self._star.name}"):
            self._define_rows(batches)
            missing = self._find_missing_keys()
            waits = _refers_to_missing(sql.Identifier("s"), missing)
            self._history.execute("find_quarantined_keys", waits=waits)
            if self._history.exists("quarantined"):
                self._history.execute("create_quarantined_slice", waits=waits)
                waits_still = _refers_to_missing(sql.Identifier("q", "version"), missing)
                self._history.execute("stage_waiting", batch=batches[-1].batch, waits=waits_still)
                self._merge_slice(self._batches_of_slice(batches))
            for first, last in self._key_ranges():
                self._history.execute("create_slice", first=first, last=last)
                self._merge_slice(None)

    def _define_rows(self, batches: Sequence[FetchedBatch]) -> None:
        """Define the views `batch_rows` and `rejected` of the batches' files."""
        rows = [(path, batch.batch) for batch in batches for path in batch.rows]
        self._define("batch_rows", rows, column_types(self._star) | {**VERSION_COLUMNS})
        rejected = [(path, batch.batch) for batch in batches for path in batch.rejected]
        self._define("rejected", rejected, QUARANTINE_COLUMNS)
        if self._history.exists("rejected WHERE star_table <> {name}"):
            raise LakeError(
                f"A file of rejected rows of {self._star.name} in the batches"
                f" {batches[0].batch} to {batches[-1].batch} has rows of another table: restore it "
                "from a backup, or run totes replay."
            )

    def _define(
        self, view: str, files: Sequence[tuple[Path, int]], columns: Mapping[str, str]
    ) -> None:
        if not files:
            nulls = (
                sql.SQL("NULL::{} AS {}").format(sql.SQL(kind), sql.Identifier(name))
                for name, kind in {**columns, "_batch": "BIGINT"}.items()
            )
            query = sql.SQL("SELECT {} WHERE false").format(sql.SQL(", ").join(nulls))
        else:
            query = self._history.compose(
                "batch_files",
                paths=sql.SQL(", ").join(sql.Literal(str(path)) for path, _ in files),
                batches=sql.SQL(", ").join(
                    sql.SQL("({}, {})").format(str(path), batch) for path, batch in files
                ),
            )
        create = sql.SQL("CREATE OR REPLACE TEMPORARY VIEW {} AS {}")
        self._history.query(create.format(sql.Identifier(view), query))

    def _find_missing_keys(self) -> list[tuple[str, sql.Identifier]]:
        """Find the keys without a row in their dimension, among those that versions refer to.

        Returns each column that refers to such keys, and the table that has them.
        """
        missing = []
        for number, (name, dimension) in enumerate(self._dimensions.items()):
            columns = [column.name for column in self._star.columns if column.references == name]
            keys = sql.Identifier(f"missing_keys_{number}")
            referenced = sql.SQL(" UNION ").join(
                self._history.compose("referenced_keys", column=sql.Identifier(column))
                for column in columns
            )
            create = sql.SQL("CREATE OR REPLACE TEMPORARY TABLE {} AS {}")
            self._history.query(create.format(keys, referenced))
            for task in self._find_files(dimension, keys, "value"):
                self._register(dimension.read(task, [dimension.key]))
                dimension_key = sql.Identifier(dimension.key)
                self._history.execute(
                    "delete_existing_keys", keys=keys, dimension_key=dimension_key
                )
            if self._history.exists("{keys}", keys=keys):
                missing += [(column, keys) for column in columns]
        return missing

    def _batches_of_slice(self, batches: Iterable[FetchedBatch]) -> list[FetchedBatch]:
        numbers = {number for (number,) in self._history.execute("find_batches")}
        return [batch for batch in batches if batch.batch in numbers]

    def _key_ranges(self) -> Iterator[tuple[Any, Any]]:
        """Yield the first and the last key of the slices that are merged one after the other."""
        partition: sql.Composable = sql.SQL("true")
        if has_ranges(self._star):
            partition = sql.SQL("s.{} // {}").format(
                sql.Identifier(self._star.key_names[0]), partition_width(self._files.table)
            )
        groups = self._history.execute("find_key_groups", partition=partition)
        while groups:
            first, last, rows = groups.pop(0)
            parts = 1
            while groups and parts < SLICE_PARTITIONS and rows + groups[0][2] <= SLICE_ROWS:
                _, last, more = groups.pop(0)
                rows, parts = rows + more, parts + 1
            yield first, last

    def _merge_slice(self, batches: Iterable[FetchedBatch] | None) -> None:
        """Place the rows of the slice, and write what changes into new files."""
        self._check_unique()
        tasks = self._read_files()
        if batches is None:
            self._history.place()
        else:
            for batch in batches:
                self._history.place_batch(batch.batch, batch.captured_at)
        rows = self._history.compose("changed_rows")
        ordered = rows_in_order(self._star, self._files.table, rows)
        self._files.write(self._engine.sql(ordered).to_arrow_reader(BLOCK_ROWS))
        for (number,) in self._history.query(sql.SQL("SELECT DISTINCT _file FROM replaced_files")):
            self._files.remove(tasks[number])
        self._history.query(sql.SQL("DROP TABLE file_rows"))

    def _check_unique(self) -> None:
        for key, batch in self._history.execute("find_duplicate_version"):
            raise LakeError(
                f"Batch {batch} has two versions of one row of {self._star.name} with the same "
                f"valid_from: {', '.join(self._star.key_names)} {key}. If its model can return "
                "a row twice, correct the model and run totes replay."
            )

    def _read_files(self) -> list[FileScanTask]:
        """Fill `file_rows` with the files that have a key of the slice; return these files."""
        self._history.execute("create_file_rows")
        tasks = [
            task
            for task in self._find_files(
                self._files, sql.Identifier("slice"), self._star.key_names[0]
            )
            if self._has_key_of_slice(task)
        ]
        for number, task in enumerate(tasks):
            self._register(self._files.read(task))
            self._history.execute("insert_file", file=number)
        self._history.execute("find_file_ranges")
        return tasks

    def _find_files(
        self, files: TableFiles, relation: sql.Identifier, column: str
    ) -> list[FileScanTask]:
        """Return the files whose range of keys has a value of a relation's column."""
        parts = {"relation": relation, "column": sql.Identifier(column)}
        limits = sql.SQL("SELECT min({column}), max({column}) FROM {relation}")
        [(first, last)] = self._history.query(limits.format(**parts))
        if first is None:
            return []
        found = []
        for task in files.find_overlapping(first, last):
            lower, upper = files.bounds(task.file)
            if self._history.exists(
                "{relation} WHERE {column} >= {lower} AND {column} <= {upper}",
                lower=first if lower is None else lower,
                upper=last if upper is None else upper,
                **parts,
            ):
                found.append(task)
        return found

    def _has_key_of_slice(self, task: FileScanTask) -> bool:
        self._register(self._files.read(task, self._star.key_names))
        return self._history.exists("file_content WHERE ({key}) IN (SELECT ({key}) FROM slice)")

    def _register(self, rows: Any) -> None:
        """Let statements read rows as `file_content`."""
        self._engine.register("file_content", rows)


def _refers_to_missing(
    row: sql.Composable, missing: Iterable[tuple[str, sql.Identifier]]
) -> sql.Composed | sql.SQL:
    """Return SQL that is true if a row refers to a missing dimension row.

    `missing` are columns, each with the table of the keys that have no dimension row.
    """
    conditions = [
        sql.SQL("coalesce({}.{} IN (SELECT value FROM {}), false)").format(
            row, sql.Identifier(column), keys
        )
        for column, keys in missing
    ]
    if not conditions:
        return sql.SQL("false")
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def rows_in_order(star: StarTable, table: Table, rows: sql.Composable) -> str:
    """Return SQL for rows as `TableFiles.write` expects them; `rows` is a query with `_range`."""
    key = sql.Identifier("o", star.key_names[0])
    partition: sql.Composable = sql.SQL("0")
    if has_ranges(star):
        partition = sql.SQL("{key} - ({key} % {width} + {width}) % {width}").format(
            key=key, width=partition_width(table)
        )
    order = [*star.key_names, *([VALID_FROM] if star.is_fact else [])]
    return statement(
        __package__,
        "rows_in_order",
        columns=qualified("o", engine_types(star)),
        partition=partition,
        rows=rows,
        order=qualified("o", order),
    ).as_string()
