"""Scan: reads a table in pieces, over two connections to one snapshot.

Rows are stored as files of JSON Lines of at least _PART_BYTES. The rows that remain from all
pieces are stored together at the end.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue

import duckdb
import psycopg

from totes.duckdb_engine import open_engine
from totes.lake.manifest import File, Table
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.changes import (
    Chunk,
    Horizon,
    RowRange,
    choose_section_blocks,
    read_table_size,
    split_blocks,
)
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys
from totes.source.reading import read_changes
from totes.source.snapshot import Snapshot
from totes.source.unreadable import is_unreadable

CONNECTIONS = 2
"""The connections that read one snapshot in parallel."""

_CHUNK_BYTES = 1 << 20
"""Bytes of a table that one statement reads if all rows are captured (as JSON three times that)."""

_SPARSE_CHUNK_BYTES = 8 << 20
"""The same if only changed rows are captured."""

_CHUNKS_PER_PIECE = 24

_PART_BYTES = 48 << 20
"""A piece with at least this much JSON stores it as a file."""


@dataclass(frozen=True)
class Plan:
    """How to capture one table: its entry in the last batch, and the horizon.

    Without a horizon all of its rows are captured. `overlap` is a Parquet file with key and `_xid`
    of rows that the last batch captured and that are above the horizon, too: `repeats` in the
    manifest.
    """

    table: SourceTable
    previous: Table | None
    horizon: Horizon | None
    overlap: Path | None = None

    def for_all_rows(self) -> "Plan":
        """Return a plan that captures all rows of the table."""
        return replace(self, horizon=None, overlap=None)


@dataclass
class Rows:
    """Local files that rows are appended to: JSON Lines, their keys, and unreadable values."""

    lines: Path
    keys: Path
    unreadable: Path
    count: int = 0
    size_bytes: int = 0

    def append(self, chunk: Chunk) -> None:
        """Append the rows of a chunk."""
        contents = [(self.lines, chunk.lines), (self.keys, chunk.keys)]
        if chunk.unreadable:
            contents.append((self.unreadable, chunk.unreadable))
        for path, content in contents:
            with path.open("ab") as file:
                file.write(content)
                file.write(b"\n")
        self.count += chunk.changed
        self.size_bytes += len(chunk.lines)

    def move_from(self, other: "Rows") -> None:
        """Append the rows of `other`, and delete its files."""
        paths = [(self.lines, other.lines), (self.keys, other.keys)]
        if other.unreadable.exists():
            paths.append((self.unreadable, other.unreadable))
        for path, other_path in paths:
            with path.open("ab") as file, other_path.open("rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)
            other_path.unlink()
        self.count += other.count
        self.size_bytes += other.size_bytes


@dataclass(frozen=True)
class StoredLines:
    """A file of JSON Lines in the store; None if all of its rows were in the overlap.

    `keys` and `unreadable` are local: the keys of its rows, and the values that could not be read.
    """

    file: File | None
    keys: Path | None
    unreadable: Path | None


@dataclass(frozen=True)
class TableRanges:
    """The ranges of rows in each piece of a table, and its `relfilenodes` as in TableSize."""

    pieces: list[list[RowRange]]
    relfilenodes: str

    @property
    def section_blocks(self) -> int:
        """The number of blocks of a section."""
        return self.pieces[0][0].section_blocks

    def all_ranges(self) -> list[RowRange]:
        """Return the ranges of all pieces."""
        return [row_range for piece in self.pieces for row_range in piece]


@dataclass
class TablePiece:
    """The rows of one piece of a table; `remainder` has those that are not stored yet.

    `rows` has their number in each section, as in Chunk.
    """

    remainder: Rows
    rows: Counter[int] = field(default_factory=Counter)
    changed: int = 0
    content_hash: int = 0
    parts: list[StoredLines] = field(default_factory=list)


@dataclass(frozen=True)
class ScannedTable:
    """A table after all of its pieces were read."""

    ranges: TableRanges
    pieces: list[TablePiece]

    @cached_property
    def rows(self) -> Counter[int]:
        """The number of rows in each section, as in Chunk."""
        rows: Counter[int] = Counter()
        for piece in self.pieces:
            rows.update(piece.rows)
        return rows


@dataclass(frozen=True)
class Reader:
    """A connection to the snapshot, and a DuckDB for the keys of the rows read over it."""

    connection: psycopg.Connection
    engine: duckdb.DuckDBPyConnection


class Scan:
    """Reads the tables of one snapshot in pieces."""

    def __init__(
        self, snapshot: Snapshot, files: BatchFiles, progress: Progress, stack: ExitStack
    ) -> None:
        self._snapshot = snapshot
        self._files = files
        self._progress = progress
        self._error: BaseException | None = None
        self._readers: SimpleQueue[Reader] = SimpleQueue()
        others = (snapshot.second_connection() for _ in range(CONNECTIONS - 1))
        for connection in (snapshot.connection, *map(stack.enter_context, others)):
            # One engine each: two large sets in one engine would compete for its memory.
            engine = stack.enter_context(open_engine(files.scratch, share=CONNECTIONS))
            # Keys must have the same order as their lines.
            engine.execute("SET preserve_insertion_order = true")
            self._readers.put(Reader(connection, engine))

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Yield a reader for exclusive use; raise an error of an earlier use again."""
        reader = self._readers.get()
        try:
            if self._error:
                raise self._error  # noqa: TRY301  the rest would be read for nothing
            yield reader
        except BaseException as error:
            self._error = error
            raise
        finally:
            self._readers.put(reader)

    def split_table(self, plan: Plan) -> TableRanges:
        """Return the ranges of each piece of a table; one statement reads one range."""
        size = read_table_size(self._snapshot.connection, plan.table)
        chunk_bytes = _CHUNK_BYTES if plan.horizon is None else _SPARSE_CHUNK_BYTES
        step = max(1, size.blocks * chunk_bytes // max(size.size_bytes, 1))
        section_blocks = choose_section_blocks(size.blocks, step, len(plan.table.members))
        row_ranges = list(
            split_blocks(size.blocks, step, has_toast=size.has_toast, section_blocks=section_blocks)
        )
        starts = range(0, len(row_ranges), _CHUNKS_PER_PIECE)
        pieces = [row_ranges[start : start + _CHUNKS_PER_PIECE] for start in starts]
        return TableRanges(pieces, size.relfilenodes)

    def read_piece(self, plan: Plan, row_ranges: list[RowRange]) -> TablePiece:
        """Read one piece, and store files of at least _PART_BYTES."""
        piece = TablePiece(self.new_rows())
        with self.reader() as reader:
            for row_range in row_ranges:
                for chunk in read_changes(
                    reader.connection, plan.table, self._snapshot.xmax, plan.horizon, row_range
                ):
                    self._add(reader, plan, piece, chunk)
                    del chunk  # frees its memory before the next one is read
        return piece

    def _add(self, reader: Reader, plan: Plan, piece: TablePiece, chunk: Chunk) -> None:
        piece.rows.update(chunk.rows)
        piece.changed += chunk.changed
        piece.content_hash += chunk.content_hash
        self._progress.advance(chunk.changed)
        if chunk.changed:
            piece.remainder.append(chunk)
        if piece.remainder.size_bytes >= _PART_BYTES:
            piece.parts.append(self.store_rows(reader, plan, piece.remainder))
            piece.remainder = self.new_rows()

    def new_rows(self) -> Rows:
        """Return Rows without any row."""
        lines, keys, unreadable = map(self._files.new_path, ("jsonl", "keys", "unreadable"))
        return Rows(lines, keys, unreadable)

    def store_rows(self, reader: Reader, plan: Plan, rows: Rows) -> StoredLines:
        """Store local rows as a file, except those in the overlap with the last batch."""
        count, key_file = rows.count, None
        unreadable = rows.unreadable if rows.unreadable.exists() else None
        if plan.table.key:
            keys = TableKeys(reader.engine, plan.table)
            key_file = self._files.new_path("parquet")
            keys.extract_keys(rows.keys, key_file, self._snapshot.xmax)
            if plan.overlap:
                new = self._files.new_path("jsonl")
                count = _copy_new_rows(rows.lines, new, keys.flag_new_rows(key_file, plan.overlap))
                new.replace(rows.lines)
        rows.keys.unlink()
        if not count:
            rows.lines.unlink()
            return StoredLines(None, key_file, unreadable)
        file = self._files.put_lines(
            plan.table.name,
            rows.lines,
            rows=count,
            unreadable=_count_unreadable(rows.lines) if unreadable else 0,
        )
        return StoredLines(file, key_file, unreadable)


def _count_unreadable(lines: Path) -> int:
    with lines.open("rb") as content:
        return sum(map(is_unreadable, content))


def _copy_new_rows(lines: Path, into: Path, are_new: Iterator[bool]) -> int:
    count = 0
    with lines.open("rb") as all_lines, into.open("wb") as new_lines:
        for line, is_new in zip(all_lines, are_new, strict=True):
            if is_new:
                new_lines.write(line)
                count += 1
    return count
