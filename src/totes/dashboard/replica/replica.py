"""The replica's file: one process opens it, one thread refreshes it, many threads read it."""

import fcntl
import logging
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread
from typing import Any, override

import duckdb
from psycopg import Connection

from totes.config.dsn import Dsn
from totes.dashboard.replica.refresh import STATE_TABLE, State, refresh, stored_state
from totes.dashboard.replica.tables import QUARANTINE
from totes.duckdb_engine import is_out_of_room
from totes.errors import WarehouseError
from totes.progress import Progress
from totes.sql_text import quote
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_migrations

LOG = logging.getLogger(__name__)

FILE, LOCK = "replica.duckdb", "replica.lock"

_COPY_WAIT_SECONDS = 5


def replica_folder(home: Path, warehouse: Dsn) -> Path:
    """Return the folder of a warehouse's replica; each warehouse has its own."""
    return home / "replica" / sha256(str(warehouse).encode()).hexdigest()[:12]


class CopiedRows(Progress):
    """The number of rows that a refresh has copied, and an estimate of their total."""

    rows, total = 0, 0

    @override
    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:
        self.total = total or 0

    @override
    def advance(self, rows: int) -> None:
        self.rows += rows


class Replica:
    """A replica of one warehouse. Its methods may be called from any thread."""

    def __init__(self, file: Path, warehouse: Dsn, memory_mb: int) -> None:
        self._file = file
        self.warehouse = warehouse
        self.copied = CopiedRows()
        self.memory_mb = memory_mb
        self._refreshing = Lock()
        self._starting = Lock()
        self._pending: Future[int] | None = None
        self._idle: list[duckdb.DuckDBPyConnection] = []
        try:
            self._engine = _connect(file, memory_mb)
        except duckdb.Error as error:
            self._engine = self._replace_file(error)

    def close(self) -> None:
        """Close the file. Open readings can be finished."""
        for engine in (*self._idle, self._engine):
            engine.close()

    def refresh(self, progress: Progress | None = None) -> int:
        """Update the replica to the warehouse's current state; return the number of rows read.

        Readers see the previous state until the new one is complete. Raises WarehouseError, and
        duckdb.Error if the disk is full or DuckDB needs more memory than it may use.
        """
        with self._refreshing, connect(self.warehouse) as connection:
            check_migrations(connection)
            try:
                return self._refresh(connection, progress)
            except duckdb.Error as error:
                if is_out_of_room(error):
                    raise
                self._engine.close()
                self._engine, self._idle = self._replace_file(error), []
                return self._refresh(connection, progress)

    def refresh_within(self, seconds: float) -> bool:
        """Refresh in the background if no refresh is running; return whether it ended in `seconds`.

        Raises WarehouseError if it failed in this time.
        """
        with self._starting:
            if self._pending is None or self._pending.done():
                self._pending = Future()
                Thread(target=self._run, args=[self._pending], daemon=True).start()
            pending = self._pending
        try:
            pending.result(seconds)
        except TimeoutError:
            return False
        except duckdb.Error as error:
            raise WarehouseError(f"The replica can't be written: {error}") from error
        return True

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self._file.parent

    def copy_star(self, to: Path) -> bool:
        """Replace a file by a copy of the newest state, without quarantine and `replica_state`.

        Return False if a refresh takes too long to wait for it. Raises OSError.
        """
        part = to.with_suffix(".part")
        if not self._refreshing.acquire(timeout=_COPY_WAIT_SECONDS):
            return False
        try:  # nothing else writes the file
            for suffix in ("", ".wal"):
                Path(f"{part}{suffix}").unlink(missing_ok=True)
                if (file := Path(f"{self._file}{suffix}")).exists():
                    _copy_file(file, f"{part}{suffix}")
        finally:
            self._refreshing.release()
        with duckdb.connect(str(part)) as engine:
            for table in (QUARANTINE.name, STATE_TABLE):
                engine.execute(f"DROP TABLE {quote(table)}")
        part.replace(to)
        return True

    def _run(self, future: Future[int]) -> None:
        try:
            future.set_result(self.refresh())
        except BaseException as error:  # noqa: BLE001  raised by result()
            future.set_exception(error)

    def _refresh(self, connection: Connection[Any], progress: Progress | None) -> int:
        with self._engine.cursor() as engine:
            self.copied = CopiedRows()
            return refresh(connection, engine, progress or self.copied)

    def _replace_file(self, error: duckdb.Error) -> duckdb.DuckDBPyConnection:
        LOG.warning("The replica %s can't be read and is created again: %s", self._file, error)
        for path in (self._file, self._file.with_name(f"{self._file.name}.wal")):
            path.unlink(missing_ok=True)
        return _connect(self._file, self.memory_mb)

    @property
    def state(self) -> State | None:
        """The state of the warehouse that the replica has; None before the first refresh."""
        with self._engine.cursor() as engine:
            return stored_state(engine)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a cursor in a transaction: all its queries see the same state.

        Cursors are used again, with their temporary views and variables.
        """
        idle = self._idle
        try:
            engine = idle.pop()
        except IndexError:  # also if another thread takes the last one
            engine = self._engine.cursor()
        try:
            engine.execute("BEGIN TRANSACTION")
            yield engine
            engine.execute("COMMIT")
        except BaseException:
            engine.close()
            raise
        idle.append(engine)


@contextmanager
def open_replica(
    folder: Path, warehouse: Dsn, *, memory_mb: int, wait: bool = False
) -> Iterator[Replica]:
    """Open the replica in `folder`, or in a temporary folder if another process uses it.

    With `wait`, wait until the other process closes it. The folder is created; if that fails, the
    replica is in a temporary folder, too. A file that can't be read is deleted and created again.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            LOG.info(
                "The replica in %s can't be used, a temporary one is created: %s", folder, error
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="totes-replica-")))
        replica = Replica(folder / FILE, warehouse, memory_mb)
        stack.callback(replica.close)
        yield replica


def _copy_file(file: Path, to: str) -> None:
    """Copy a file in another process: closing a file releases DuckDB's lock of this process on it.

    File systems that can share the blocks of two files do so.
    """
    done = subprocess.run(  # noqa: S603  fixed arguments
        ["cp", "--reflink=auto", "--", str(file), to],  # noqa: S607  # nosec B607
        check=False,
        stderr=subprocess.PIPE,
    )
    if done.returncode:
        raise OSError(done.returncode, done.stderr.decode(errors="replace").strip())


def _connect(file: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(
        str(file),
        config={
            "memory_limit": f"{memory_mb}MB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    engine.execute("SET GLOBAL TimeZone = 'UTC'")
    file.chmod(0o600)
    return engine
