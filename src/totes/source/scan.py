"""Scan: reads tables in pieces, over several connections to one snapshot.

Usually threads read: to find a few changed rows, the server does most of the work. Large tables
that are captured in full are read by processes (`Worker`), because most of the work is then to
store the rows. Threads and processes read the same pieces in the same way.

splitting.py decides on the pieces; the docstring of the package defines the words.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue
from typing import TYPE_CHECKING

import duckdb
import psycopg

from totes.duckdb_engine import memory_limit, open_engine
from totes.progress import Progress
from totes.source.files import BatchFiles
from totes.source.pieces import Piece, PieceRows, Plan, Rows, StoredFile
from totes.source.resuming import ResumingReader
from totes.source.snapshot import (
    Snapshot,
)
from totes.source.splitting import SplitTable, Splitting

if TYPE_CHECKING:
    from totes.source.worker import Worker

log = logging.getLogger(__name__)

ENGINES = 2
"""How many DuckDB engines share the memory of the process. Each compares the keys of one table."""

_WORKER_BYTES = 128 << 20
"""Processes read large tables if these have at least this many bytes in total."""


@dataclass(frozen=True)
class ScannedTable:
    """A table after all of its pieces were read."""

    split: SplitTable
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

    def split_tables(self, plans: Sequence[Plan]) -> list[SplitTable]:
        """Return the pieces of each table, including those that an earlier attempt has stored."""
        splitting = Splitting(self._snapshot, self._files, plans)
        if self._readers.empty():
            self._open_readers(splitting.large_bytes)
        return splitting.split()

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

    def store_rows(self, plan: Plan, rows: Rows) -> StoredFile:
        """Store local rows as a file, except those in the overlap with the last batch."""
        return self._reader.store_rows(plan, rows)
