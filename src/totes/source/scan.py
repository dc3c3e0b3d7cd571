"""Scan: reads tables in pieces, over several connections to one snapshot.

Usually threads read: to find a few changed rows, the server does most of the work. Large tables
that are captured in full are read by processes (`Worker`), because most of the work is then to
store the rows. Threads and processes read the same pieces in the same way.
"""

import logging
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING

import duckdb
import psycopg

from totes.duckdb_engine import memory_limit, open_engine
from totes.lake.unfinished import Attempt, LargeTable
from totes.progress import Progress
from totes.source.changes import (
    RowRange,
    TableSize,
    choose_section_blocks,
    read_table_size,
)
from totes.source.files import BatchFiles
from totes.source.pieces import EarlierPiece, Piece, PieceRows, Plan, Rows, StoredLines
from totes.source.resuming import ResumingReader
from totes.source.snapshot import (
    Snapshot,
    VisibleTransactions,
    read_label_digest,
    snapshot_xmin,
)

if TYPE_CHECKING:
    from totes.source.worker import Worker

log = logging.getLogger(__name__)

ENGINES = 2
"""How many DuckDB engines share the memory of the process. Each compares the keys of one table."""

_CHUNK_BYTES = 1 << 20
"""The bytes of a table that one statement reads if all rows are captured; three times as JSON."""

_SPARSE_CHUNK_BYTES = 8 << 20
"""The same if only changed rows are captured."""

_CHUNKS_PER_PIECE = 16

_MAX_PIECES = 1000
"""The most pieces of a table, and about the most files: a manifest stays small."""

_WORKER_BYTES = 128 << 20
"""Processes read large tables if these have at least this many bytes in total."""


@dataclass(frozen=True)
class TableRanges:
    """The pieces of a table, and its `relfilenodes` as in TableSize."""

    pieces: list[Piece]
    relfilenodes: str

    @property
    def section_blocks(self) -> int:
        """The number of blocks of a section."""
        return self.pieces[0].section_blocks

    def all_ranges(self) -> list[RowRange]:
        """Return the ranges of all pieces."""
        return list(chain.from_iterable(piece.ranges() for piece in self.pieces))


@dataclass(frozen=True)
class ScannedTable:
    """A table after all of its pieces were read."""

    ranges: TableRanges
    pieces: list[PieceRows]

    @cached_property
    def rows(self) -> Counter[int]:
        """The number of rows in each section, as in Chunk."""
        rows: Counter[int] = Counter()
        for piece in self.pieces:
            rows.update(piece.rows)
        return rows


class Scan(ExitStack):
    """Reads the tables of one snapshot in pieces, in as many threads as it has connections.

    A context manager, which closes all connections but the snapshot's own.
    """

    def __init__(self, snapshot: Snapshot, files: BatchFiles, progress: Progress) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._files = files
        self._progress = progress
        self._error: BaseException | None = None
        self._workers: list[Worker] = []
        self._readers: SimpleQueue[psycopg.Connection | Worker] = SimpleQueue()
        self._connections: SimpleQueue[psycopg.Connection] = SimpleQueue()
        self._engines: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
        for _ in range(ENGINES):
            # One engine each: two large sets in one engine would compete for its memory.
            engine = self.enter_context(open_engine(files.scratch, share=ENGINES))
            # Keys must have the same order as their lines.
            engine.execute("SET preserve_insertion_order = true")
            self._engines.put(engine)
        self._reader = ResumingReader(files, snapshot.xmax, self.engine, self._advance)

    def _advance(self, rows: int) -> None:
        self._raise_error()
        self._progress.advance(rows)

    def _raise_error(self) -> None:
        if self._error:
            raise self._error  # what other threads still read would not be used

    def stop(self) -> None:
        """End all reading at once; what still runs in other threads raises an error."""
        self._error = self._error or KeyboardInterrupt()
        for worker in self._workers:
            worker.kill()

    @contextmanager
    def engine(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a DuckDB for exclusive use."""
        engine = self._engines.get()
        try:
            yield engine
        finally:
            self._engines.put(engine)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Yield a connection to the snapshot for exclusive use."""
        connection = self._connections.get()
        try:
            yield connection
        finally:
            self._connections.put(connection)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Raise the error of an earlier block again, and remember an error of this block."""
        try:
            self._raise_error()
            yield
        except BaseException as error:
            self._error = self._error or error
            raise

    def split_tables(self, plans: Sequence[Plan]) -> list[TableRanges]:
        """Return the pieces of each table, including those that an earlier attempt has stored."""
        sizes = [read_table_size(self._snapshot.connection, plan.table) for plan in plans]
        large = [
            LargeTable(
                name=plan.table.name,
                fingerprint=plan.table.fingerprint,
                relfilenodes=size.relfilenodes,
                blocks=size.blocks,
                size_bytes=size.size_bytes,
            )
            for plan, size in zip(plans, sizes, strict=True)
            if _is_large(plan, size)
        ]
        if self._readers.empty():
            self._open_readers(sum(table.size_bytes for table in large))
        attempt, earlier = "", []
        if large:
            if stored := self._files.unfinished.measure():
                log.info(
                    "Batch %d is continued: %d rows, %.0f %% of its large tables, were stored.",
                    *(stored.batch, stored.rows, 100 * stored.share),
                )
            labels = read_label_digest(self._snapshot.connection)
            earlier = [*self._find_earlier_attempts(labels)]
            attempt = self._files.unfinished.add_attempt(
                Attempt(
                    token=self._files.attempt,
                    snapshot=self._snapshot.text,
                    identity=self._snapshot.identity,
                    labels=labels,
                    tables=tuple(large),
                )
            )
        return [
            TableRanges(
                list(_split(plan, size, attempt, self._find_earlier_pieces(plan, size, earlier))),
                size.relfilenodes,
            )
            for plan, size in zip(plans, sizes, strict=True)
        ]

    def _open_readers(self, large_bytes: int) -> None:
        """Open the connections, or processes that have one each."""
        self._readers.put(self._snapshot.connection)
        self._connections.put(self._snapshot.connection)
        others = range(self._snapshot.scope.connections - 1)
        if large_bytes >= _WORKER_BYTES:
            from totes.source.worker import Worker, WorkerStart  # noqa: PLC0415  seldom needed

            start = WorkerStart(
                dsn=self._snapshot.dsn.reveal(),
                exported=self._snapshot.exported,
                xmax=self._snapshot.xmax,
                store_url=self._files.store_url,
                scratch=self._files.scratch,
                batch=self._files.batch,
                captured_at=self._files.captured_at,
                memory_mb=memory_limit(),
            )
            for _ in others:
                worker = Worker(start)
                self.callback(worker.close)
                self._workers.append(worker)
                self._readers.put(worker)
            return
        for _ in others:
            connection = self.enter_context(self._snapshot.second_connection())
            self._readers.put(connection)
            self._connections.put(connection)

    def _find_earlier_attempts(self, labels: str) -> Iterator[tuple[str, Attempt]]:
        """Yield the attempts whose rows this snapshot would see at the same place."""
        visible = VisibleTransactions(self._snapshot.text)
        for name, attempt in self._files.unfinished.attempts():
            if (
                attempt.identity.is_same(self._snapshot.identity)
                and attempt.labels == labels
                and visible.include(VisibleTransactions(attempt.snapshot))
            ):
                yield name, attempt

    def _find_earlier_pieces(
        self, plan: Plan, size: TableSize, attempts: Sequence[tuple[str, Attempt]]
    ) -> list[EarlierPiece]:
        """Return pieces of a table that earlier attempts have stored, in their order."""
        pieces = [
            EarlierPiece(piece, snapshot_xmin(attempt.snapshot))
            for name, attempt in attempts
            if _is_large(plan, size)
            and (table := attempt.table(plan.table.name))
            and table.fingerprint == plan.table.fingerprint
            and table.relfilenodes == size.relfilenodes
            for piece in self._files.unfinished.pieces(name, plan.table.name)
        ]
        pieces.sort(
            key=lambda earlier: earlier.xmin, reverse=True
        )  # the newest have the fewest changes
        disjoint: list[EarlierPiece] = []
        for candidate in pieces:  # concurrent attempts store the same blocks
            first, end = candidate.piece.first_block, candidate.piece.end_block
            index = bisect(disjoint, first, key=lambda earlier: earlier.piece.first_block)
            before, after = disjoint[:index][-1:], disjoint[index:][:1]
            if all(earlier.piece.end_block <= first for earlier in before) and all(
                earlier.piece.first_block >= end for earlier in after
            ):
                disjoint.insert(index, candidate)
        return disjoint

    def read_piece(self, plan: Plan, piece: Piece) -> PieceRows:
        """Read one piece, over a connection of this process or in another process."""
        reader = self._readers.get()
        try:
            with self.failing_together():
                if isinstance(reader, psycopg.Connection):
                    return self._reader.read(reader, plan, piece)
                return reader.read(plan, piece, self._advance)
        finally:
            self._readers.put(reader)

    def new_rows(self) -> Rows:
        """Return Rows that are empty."""
        return self._reader.new_rows()

    def store_rows(self, plan: Plan, rows: Rows) -> StoredLines:
        """Store local rows as a file, except those in the overlap with the last batch."""
        return self._reader.store_rows(plan, rows)


def _is_large(plan: Plan, size: TableSize) -> bool:
    """Whether the pieces of a table are recorded, so that a later attempt need not read them.

    That requires that rows stay in their blocks, and that keys are unique.
    """
    return (
        plan.horizon is None
        and size.relfilenodes != ""
        and not plan.table.has_children
        and size.blocks > _step(plan, size) * _CHUNKS_PER_PIECE
    )


def _step(plan: Plan, size: TableSize) -> int:
    """Return how many blocks of a table one statement reads."""
    chunk_bytes = _CHUNK_BYTES if plan.horizon is None else _SPARSE_CHUNK_BYTES
    return max(1, size.blocks * chunk_bytes // max(size.size_bytes, 1))


def _split(
    plan: Plan, size: TableSize, attempt: str, earlier_pieces: Sequence[EarlierPiece]
) -> Iterator[Piece]:
    step = _step(plan, size)
    blocks_per_piece = step * max(_CHUNKS_PER_PIECE, -(-size.blocks // (step * _MAX_PIECES)))
    section_blocks = choose_section_blocks(size.blocks, step, len(plan.table.members))
    bytes_per_block = size.size_bytes // max(size.blocks, 1)

    def piece(first: int, end: int, *, last: bool, earlier: EarlierPiece | None = None) -> Piece:
        return Piece(
            blocks=range(first, end, step),
            last=last,
            has_toast=size.has_toast,
            section_blocks=section_blocks,
            size_bytes=bytes_per_block * (end - first),
            attempt=attempt if _is_large(plan, size) else "",
            earlier=earlier,
        )

    def gap(first: int, until: int, *, last: bool = False) -> Iterator[Piece]:
        for start in range(first, until, blocks_per_piece):
            end = min(start + blocks_per_piece, until)
            yield piece(start, end, last=last and end == until)

    first = 0
    for earlier in earlier_pieces:
        yield from gap(first, earlier.piece.first_block)
        first = earlier.piece.end_block
        yield piece(earlier.piece.first_block, first, last=False, earlier=earlier)
    if first < size.blocks or not earlier_pieces:
        yield from gap(first, max(size.blocks, 1), last=True)
