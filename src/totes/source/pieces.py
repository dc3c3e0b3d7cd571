"""Pieces of a table: adjacent blocks that one connection reads, and whose rows are stored together.

Rows are stored as files of JSON Lines of at least _FILE_BYTES. A piece of a small table, or with
few changed rows, has less: what remains of all pieces of a table is stored together in one file.
Each piece of a large table that is captured in full is stored by itself and recorded
(`UnfinishedBatch`), so that a later attempt need not read it again.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import duckdb
import psycopg

from totes.lake.manifest import File, Table
from totes.lake.unfinished import StoredPiece
from totes.source.catalogue import SourceTable
from totes.source.changes import Chunk, Horizon
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys
from totes.source.ranges import RowRange, split_blocks
from totes.source.reading import read_changes
from totes.source.unreadable import is_unreadable

_FILE_BYTES = 48 << 20
"""A piece with at least this much JSON stores it as a file."""

_JSON_RATIO = 3
"""The usual size of rows as JSON, in bytes per byte of the table."""

type OpenEngine = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
"""Opens a DuckDB that keeps the order of rows."""


@dataclass(frozen=True)
class Plan:
    """How to capture one table: its entry in the last batch, and the horizon.

    Without a horizon all of its rows are captured. The horizon also selects rows that the last
    batch has captured already. `overlap`, from the manifest of that batch, is a Parquet file with
    key and `_xid` of these rows.
    """

    table: SourceTable
    previous: Table | None
    horizon: Horizon | None
    overlap: Path | None = None

    def for_all_rows(self) -> "Plan":
        """Return a plan that captures all rows of the table."""
        return replace(self, horizon=None, overlap=None)


@dataclass(frozen=True)
class EarlierPiece:
    """A piece that an earlier attempt has stored: all rows that its snapshot saw.

    `xmin` is the oldest transaction that was running when that snapshot was taken.
    """

    piece: StoredPiece
    xmin: int


@dataclass(frozen=True)
class Piece:
    """Some blocks of a table; each statement reads those from one element of `blocks` to the next.

    `last`: they are the last blocks of the table. `size_bytes` is their size in the table. If
    `attempt` is not empty, the piece is stored by itself and recorded under that name. `earlier` is
    the piece as an earlier attempt has stored it.
    """

    blocks: range
    last: bool
    has_toast: bool
    section_blocks: int
    size_bytes: int
    attempt: str = ""
    earlier: EarlierPiece | None = None

    def ranges(self) -> Iterator[RowRange]:
        """Yield the ranges of rows to read."""
        return split_blocks(
            self.blocks,
            last=self.last,
            has_toast=self.has_toast,
            section_blocks=self.section_blocks,
        )


@dataclass
class Rows:
    """Local files that rows are appended to: JSON Lines, their keys, and unreadable values."""

    lines: Path
    keys: Path
    unreadable: Path
    count: int = 0
    size_bytes: int = 0
    content_hash: int = 0

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
        self.content_hash += chunk.content_hash

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

    def delete(self) -> None:
        """Delete the files."""
        for path in (self.lines, self.keys, self.unreadable):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class StoredFile:
    """A file of JSON Lines in the store; `file` is None if all of its rows were in the overlap.

    `keys` and `unreadable` are local files: the keys of its rows, and the values that could not be
    read. `content_hash` is the sum of the hashes of its rows, as in Chunk.
    """

    file: File | None
    keys: Path | None = None
    unreadable: Path | None = None
    content_hash: int = 0


@dataclass
class PieceRows:
    """The rows of one piece of a table; `remainder` has those that are not stored yet.

    `rows` has the number of rows in each section, as in Chunk.
    """

    remainder: Rows
    rows: Counter[int] = field(default_factory=Counter)
    changed: int = 0
    content_hash: int = 0
    stored_files: list[StoredFile] = field(default_factory=list)


class PieceReader:
    """Reads pieces in one snapshot. Several threads may use it, each with its own connection.

    `advance` is called with the number of rows, after each statement; if it raises an error,
    reading ends.
    """

    def __init__(
        self,
        files: BatchFiles,
        xmax: int,
        open_engine: OpenEngine,
        advance: Callable[[int], None],
    ) -> None:
        self.files = files
        self.xmax = xmax
        self.open_engine = open_engine
        self.advance = advance

    def read(self, connection: psycopg.Connection, plan: Plan, piece: Piece) -> PieceRows:
        """Read one piece; store files of at least _FILE_BYTES, or all rows if it has an attempt."""
        piece_rows = PieceRows(self.new_rows())
        max_bytes, first = _FILE_BYTES, piece.blocks.start
        if piece.attempt:  # twice the expected size, so that the piece is usually one file
            max_bytes = max(max_bytes, 2 * _JSON_RATIO * piece.size_bytes)
        for row_range in piece.ranges():
            for chunk in read_changes(connection, plan.table, self.xmax, plan.horizon, row_range):
                self._add(piece_rows, chunk)
                del chunk  # frees its memory before the next one is read
                if piece_rows.remainder.size_bytes >= max_bytes and not piece.attempt:
                    self._store_remainder(plan, piece_rows)
            end = row_range.block + row_range.blocks
            is_full = piece_rows.remainder.size_bytes >= max_bytes or end == piece.blocks.stop
            if piece.attempt and is_full:
                blocks = range(first, end, piece.blocks.step)
                self._store_and_record(plan, replace(piece, blocks=blocks), piece_rows)
                first = end
        return piece_rows

    def _add(self, piece_rows: PieceRows, chunk: Chunk) -> None:
        piece_rows.rows.update(chunk.rows)
        piece_rows.changed += chunk.changed
        piece_rows.content_hash += chunk.content_hash
        if chunk.changed:
            piece_rows.remainder.append(chunk)
        self.advance(chunk.changed)

    def _store_remainder(self, plan: Plan, piece_rows: PieceRows) -> None:
        piece_rows.stored_files.append(self.store_rows(plan, piece_rows.remainder))
        piece_rows.remainder = self.new_rows()

    def _store_and_record(self, plan: Plan, piece: Piece, piece_rows: PieceRows) -> None:
        if piece_rows.remainder.count:
            self._store_remainder(plan, piece_rows)
            self.record(plan, piece, piece_rows.stored_files[-1])
        else:
            self.record(plan, piece, StoredFile(None))

    def record(self, plan: Plan, piece: Piece, stored_file: StoredFile) -> None:
        """Record the file with all rows of a piece, unless a value in them could not be read."""
        if stored_file.unreadable:
            return
        keys, rows = None, stored_file.file.rows if stored_file.file else 0
        if stored_file.keys:
            copy = self.files.new_path("parquet")
            copy.hardlink_to(stored_file.keys)
            keys = self.files.put_parquet(plan.table.name, "keys", copy, rows)
        stored = StoredPiece(
            table=plan.table.name,
            first_block=piece.blocks.start,
            end_block=piece.blocks.stop,
            rows=rows,
            lines=stored_file.file,
            keys=keys,
            content_hash=stored_file.content_hash,
        )
        self.files.unfinished.add_piece(piece.attempt, stored)

    def new_rows(self) -> Rows:
        """Return Rows that are empty."""
        lines, keys, unreadable = map(self.files.new_path, ("jsonl", "keys", "unreadable"))
        return Rows(lines, keys, unreadable)

    def store_rows(self, plan: Plan, rows: Rows) -> StoredFile:
        """Store local rows as a file, except those in the overlap with the last batch."""
        count, key_file = rows.count, None
        unreadable = rows.unreadable if rows.unreadable.exists() else None
        if plan.table.key:
            key_file = self.files.new_path("parquet")
            with self.open_engine() as engine:
                keys = TableKeys(engine, plan.table)
                keys.extract_keys(rows.keys, key_file, self.xmax)
                if plan.overlap:
                    new = self.files.new_path("jsonl")
                    flags = keys.flag_new_rows(key_file, plan.overlap)
                    with rows.lines.open("rb") as lines, new.open("wb") as new_lines:
                        count = copy_flagged_lines(lines, new_lines, flags)
                    new.replace(rows.lines)
        rows.keys.unlink()
        if not count:
            rows.lines.unlink()
            return StoredFile(None, key_file, unreadable, rows.content_hash)
        file = self.files.put_lines(
            plan.table.name,
            rows.lines,
            rows=count,
            unreadable=_count_unreadable(rows.lines) if unreadable else 0,
        )
        return StoredFile(file, key_file, unreadable, rows.content_hash)


def _count_unreadable(lines: Path) -> int:
    with lines.open("rb") as content:
        return sum(map(is_unreadable, content))


def copy_flagged_lines(lines: Iterable[bytes], into: BinaryIO, flags: Iterable[bool]) -> int:
    """Write the lines with a true flag to a file; return their number."""
    count = 0
    for line, is_flagged in zip(lines, flags, strict=True):
        if is_flagged:
            into.write(line)
            count += 1
    return count
