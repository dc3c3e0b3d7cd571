"""Scan: a table read in pieces, which two connections on one snapshot share.

Each piece leaves files of JSON Lines in the store, and what is too little for a file of its own.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

import duckdb
import psycopg

from totes.engine import open_engine
from totes.lake.manifest import File, Table
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.changes import Chunk, Horizon, Span, split, table_size
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys
from totes.source.reading import read_changes
from totes.source.snapshot import Snapshot
from totes.source.unreadable import is_unreadable

CONNECTIONS = 2
"""Connections that read one snapshot at a time."""

_CHUNK_BYTES = 1 << 20
"""Table bytes read by one statement when all of its rows are wanted (three times that as JSON)."""

_SPARSE_CHUNK_BYTES = 8 << 20
"""The same when few of them are."""

_CHUNKS_PER_PIECE = 24

_PART_BYTES = 48 << 20
"""JSON beyond this is published as a file of its own; less waits for the rest of its table."""


@dataclass(frozen=True)
class Plan:
    """How to read one table: what the last batch knew of it, and rows from which horizon up.

    Without a horizon all of its rows are read. `repeats` are rows of the last batch that the
    horizon brings up again.
    """

    table: SourceTable
    before: Table | None
    horizon: Horizon | None
    repeats: Path | None = None

    def whole(self) -> "Plan":
        return replace(self, horizon=None, repeats=None)


@dataclass
class Rows:
    """Local files that grow: rows as JSON Lines, line by line their keys, and unreadable values."""

    lines: Path
    keys: Path
    unreadable: Path
    count: int = 0
    size_bytes: int = 0

    def append(self, chunk: Chunk) -> None:
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
        paths = [(self.lines, other.lines), (self.keys, other.keys)]
        if other.unreadable.exists():
            paths.append((self.unreadable, other.unreadable))
        for path, rest in paths:
            with path.open("ab") as file, rest.open("rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)
            rest.unlink()
        self.count += other.count
        self.size_bytes += other.size_bytes


@dataclass(frozen=True)
class Part:
    """A file of JSON Lines in the store (none if all were repeats).

    Beside it, local, the keys of its rows and the values that could not be read.
    """

    file: File | None
    keys: Path | None
    unreadable: Path | None


@dataclass
class Piece:
    """What one piece of a table held; `rest` is what is too little for a part of its own."""

    rest: Rows
    rows: int = 0
    changed: int = 0
    content: int = 0
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    connection: psycopg.Connection
    engine: duckdb.DuckDBPyConnection


class Scan:
    """The readers of one snapshot, and how they read."""

    def __init__(
        self, snapshot: Snapshot, files: BatchFiles, progress: Progress, stack: ExitStack
    ) -> None:
        self._snapshot = snapshot
        self._files = files
        self._progress = progress
        self._readers: SimpleQueue[Reader] = SimpleQueue()
        others = (snapshot.another_connection() for _ in range(CONNECTIONS - 1))
        for connection in (snapshot.connection, *map(stack.enter_context, others)):
            # An engine each: two big sets in one would starve each other of its memory.
            engine = stack.enter_context(open_engine(files.scratch, share=CONNECTIONS))
            engine.execute("SET preserve_insertion_order = true")  # keys stay beside their lines
            self._readers.put(Reader(connection, engine))

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """A reader that nobody else uses meanwhile."""
        reader = self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def pieces(self, plan: Plan) -> Iterator[list[Span]]:
        """The table in pieces, each a list of ranges to be read by one statement each."""
        size = table_size(self._snapshot.connection, plan.table)
        chunk_bytes = _CHUNK_BYTES if plan.horizon is None else _SPARSE_CHUNK_BYTES
        step = max(1, size.blocks * chunk_bytes // max(size.size_bytes, 1))
        spans = list(split(size.blocks, step, wide=size.wide))
        for start in range(0, len(spans), _CHUNKS_PER_PIECE):
            yield spans[start : start + _CHUNKS_PER_PIECE]

    def read(self, plan: Plan, spans: list[Span]) -> Piece:
        """Read one piece, and publish what fills a part."""
        piece = Piece(self.new_rows())
        with self.reader() as reader:
            for span in spans:
                for chunk in read_changes(
                    reader.connection, plan.table, self._snapshot.xmax, plan.horizon, span
                ):
                    self._take(reader, plan, piece, chunk)
                    del chunk  # frees its memory before the next one is read
        return piece

    def _take(self, reader: Reader, plan: Plan, piece: Piece, chunk: Chunk) -> None:
        piece.rows += chunk.rows
        piece.changed += chunk.changed
        piece.content += chunk.content
        self._progress.advance(chunk.changed)
        if chunk.changed:
            piece.rest.append(chunk)
        if piece.rest.size_bytes >= _PART_BYTES:
            piece.parts.append(self.publish(reader, plan, piece.rest))
            piece.rest = self.new_rows()

    def new_rows(self) -> Rows:
        lines, keys, unreadable = map(self._files.local, ("jsonl", "keys", "unreadable"))
        return Rows(lines, keys, unreadable)

    def publish(self, reader: Reader, plan: Plan, rows: Rows) -> Part:
        """Put local rows, less the repeats among them, into the store."""
        count, carried = rows.count, None
        unreadable = rows.unreadable if rows.unreadable.exists() else None
        if plan.table.key:
            keys = TableKeys(reader.engine, plan.table)
            carried = self._files.local("parquet")
            keys.extract(rows.keys, carried, self._snapshot.xmax)
            if plan.repeats:
                fresh = self._files.local("jsonl")
                count = _copy_fresh(rows.lines, fresh, keys.freshness(carried, plan.repeats))
                fresh.replace(rows.lines)
        rows.keys.unlink()
        if not count:
            rows.lines.unlink()
            return Part(None, carried, unreadable)
        file = self._files.put_lines(
            plan.table.name,
            rows.lines,
            rows=count,
            unreadable=_count_unreadable(rows.lines) if unreadable else 0,
        )
        return Part(file, carried, unreadable)


def _count_unreadable(lines: Path) -> int:
    with lines.open("rb") as content:
        return sum(map(is_unreadable, content))


def _copy_fresh(lines: Path, into: Path, freshness: Iterator[bool]) -> int:
    count = 0
    with lines.open("rb") as all_lines, into.open("wb") as fresh_lines:
        for line, fresh in zip(all_lines, freshness, strict=True):
            if fresh:
                fresh_lines.write(line)
                count += 1
    return count
