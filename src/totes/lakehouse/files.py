"""The data files of an Iceberg table: finding those that may have given keys, reading, writing.

A file has a range of keys, in order, and is never altered. What a commit replaces is collected in
`TableFiles`, which sees its own changes; the table itself changes only with the commit.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pyarrow as pa
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io.fileformat import FileFormatFactory, FileFormatWriter
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.update.snapshot import UpdateSnapshot
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, PrimitiveType
from pyiceberg.utils.datetime import days_to_date

MAX_FILE_ROWS = 250_000
"""How many rows a file has at most: a change of one row rewrites its file."""

MAX_FILE_BYTES = 128 << 20
"""How large a file may be in memory: of very wide rows it has fewer."""

_ROW_GROUP_BYTES = 32 << 20

PARTITION, FILE_RANGE = "_partition", "_range"
"""Columns of rows to write: where one of them changes, a new file begins."""


@dataclass(frozen=True)
class Replacement:
    """The files that a commit adds and removes."""

    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether the table's files differ afterwards."""
        return bool(self.added or self.removed)

    def stage(self, update: UpdateSnapshot) -> None:
        """Add a snapshot with these changes to a transaction."""
        with update.overwrite() as snapshot:
            for file in self.removed:
                snapshot.delete_data_file(file)
            for file in self.added:
                snapshot.append_data_file(file)


@dataclass
class TableFiles:
    """The files of a table as of its snapshot, and the uncommitted changes.

    With `is_replaced`, all files of the snapshot are left out.
    """

    table: Table
    key: str
    """The column by whose range files are found: the first of the key."""
    is_replaced: bool = False
    _added: dict[str, FileScanTask] = field(default_factory=dict)
    _removed: dict[str, DataFile] = field(default_factory=dict)

    @property
    def replacement(self) -> Replacement:
        """What the next commit has to change."""
        removed = (
            [task.file for task in self.table.scan().plan_files()]
            if self.is_replaced
            else self._removed.values()
        )
        return Replacement(tuple(task.file for task in self._added.values()), tuple(removed))

    def find_overlapping(self, first: Any, last: Any) -> list[FileScanTask]:
        """Return the files that may have keys from `first` to `last`."""
        if self.is_replaced or self.table.current_snapshot() is None:
            existing: Iterable[FileScanTask] = ()
        else:
            column = self.key
            between = And(
                GreaterThanOrEqual(term=column, value=first),
                LessThanOrEqual(term=column, value=last),
            )
            existing = self.table.scan(between).plan_files()
        tasks = (task for task in existing if task.file.file_path not in self._removed)
        added = (task for task in self._added.values() if self._overlaps(task.file, first, last))
        return [*tasks, *added]

    def bounds(self, file: DataFile) -> tuple[Any, Any]:
        """Return the first and the last key of a file; None where it is unknown."""
        column = self.table.schema().find_field(self.key)

        def value(bounds: dict[int, bytes] | None) -> Any:
            bound = (bounds or {}).get(column.field_id)
            if bound is None:
                return None
            kind = cast("PrimitiveType", column.field_type)  # of any column that can be a key
            found: Any = from_bytes(kind, bound)
            return days_to_date(found) if isinstance(column.field_type, DateType) else found

        return value(file.lower_bounds), value(file.upper_bounds)

    def _overlaps(self, file: DataFile, first: Any, last: Any) -> bool:
        lower, upper = self.bounds(file)
        return (lower is None or lower <= last) and (upper is None or upper >= first)

    def read(self, task: FileScanTask, columns: Sequence[str] = ()) -> pa.Table:
        """Return rows of a file in the table's schema; new columns are NULL in older files."""
        schema = self.table.schema()
        schema = schema.select(*columns) if columns else schema
        scan = ArrowScan(self.table.metadata, self.table.io, schema, AlwaysTrue())
        arrow = schema_to_pyarrow(schema, include_field_ids=False)
        batches = (pa.Table.from_batches([batch]) for batch in scan.to_record_batches([task]))
        return pa.concat_tables(
            [arrow.empty_table(), *(batch.select(arrow.names).cast(arrow) for batch in batches)]
        )

    def remove(self, task: FileScanTask) -> None:
        """Remove a file with the next commit; one that this object has added, at once."""
        path = task.file.file_path
        if self._added.pop(path, None):
            self.table.io.delete(path)
        else:
            self._removed[path] = task.file

    def write(self, rows: pa.RecordBatchReader) -> None:
        """Write rows, in the order of their keys, to new files.

        The rows have the table's columns, PARTITION and FILE_RANGE.
        """
        schema = schema_to_pyarrow(self.table.schema())
        file: _NewFile | None = None
        for batch in rows:
            limits = np.column_stack(
                [
                    batch.column(name).to_numpy(zero_copy_only=False)
                    for name in (PARTITION, FILE_RANGE)
                ]
            )
            changes = 1 + np.flatnonzero((limits[1:] != limits[:-1]).any(axis=1))
            content = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
            for begin, end in pairwise([0, *changes.tolist(), len(limits)]):
                place = tuple(limits[begin].tolist())
                if file is not None and (file.place != place or file.is_full):
                    self._add(file.close())
                    file = None
                file = file or _NewFile(self.table, place)
                file.write(content.slice(begin, end - begin))
        if file is not None:
            self._add(file.close())

    def _add(self, file: DataFile) -> None:
        self._added[file.file_path] = FileScanTask(file)


class _NewFile:
    """A data file that is being written, one row group at a time."""

    def __init__(self, table: Table, place: tuple[int, ...]) -> None:
        self.place = place
        self._table = table
        name = f"{secrets.token_hex(16)}.parquet"
        self._output = table.io.new_output(table.location_provider().new_data_location(name))
        model = FileFormatFactory.get(FileFormat.PARQUET)
        self._writer: FileFormatWriter = model.create_writer(
            self._output, table.schema(), table.properties
        )
        self._waiting: list[pa.Table] = []
        self._rows = self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._rows >= MAX_FILE_ROWS or self._bytes >= MAX_FILE_BYTES

    def write(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if sum(table.nbytes for table in self._waiting) >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting.clear()

    def close(self) -> DataFile:
        self._flush()
        statistics = self._writer.close()
        spec = self._table.spec()
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._output.location,
            file_format=FileFormat.PARQUET,
            partition=Record(*self.place[:1]) if spec.fields else Record(),
            file_size_in_bytes=len(self._output),
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        file.spec_id = spec.spec_id  # not a part of the file's entry
        return file
