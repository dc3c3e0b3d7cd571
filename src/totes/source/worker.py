"""A process that reads pieces of large tables over its own connection to the same snapshot.

The parent sends what the process needs over a socket pair, so that the DSN is neither in arguments
nor in environment variables. The process ends when the parent closes its socket, or has ended.
"""

import logging
import os
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any, override

import duckdb

from totes.config.dsn import Dsn
from totes.duckdb_engine import open_engine, set_memory_limit
from totes.errors import SourceUnavailable
from totes.lake import open_store
from totes.source.files import BatchFiles
from totes.source.pieces import Piece, PieceRows, Plan
from totes.source.resuming import ResumingReader
from totes.source.snapshot import open_exported

_PROGRAM = f"import sys; from {__name__} import main; main(int(sys.argv[1]))"
"""Not `-m`: its classes would belong to `__main__`, and the parent could not unpickle them."""

_ENGINE_SHARE = 2
"""A process has as much memory for DuckDB as each of the parent's two engines."""


@dataclass(frozen=True)
class WorkerStart:
    """What a process needs: source and snapshot, where files are stored, and the memory limit."""

    dsn: str
    exported: str
    xmax: int
    store_url: str
    scratch: Path
    batch: int
    captured_at: datetime
    memory_mb: int

    @override
    def __repr__(self) -> str:
        return "WorkerStart(…)"  # the DSN has a password


@dataclass(frozen=True)
class _Rows:
    """The number of rows that were read since the last such message."""

    number: int


@dataclass(frozen=True)
class _Message:
    """A line for the parent's log."""

    logger: str
    level: int
    text: str


class Worker:
    """The parent's side of a process; `close` ends the process."""

    def __init__(self, start: WorkerStart) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  fixed arguments
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # Ctrl-C is for the parent
            )
        self._connection = Connection(ours.detach())
        self._connection.send(start)

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        self.kill()
        self._process.wait()
        self._connection.close()

    def kill(self) -> None:
        """Kill the process; a thread that waits for its answer raises SourceUnavailable."""
        self._process.kill()

    def read(self, plan: Plan, piece: Piece, advance: Callable[[int], None]) -> PieceRows:
        """Read one piece; raise the error that it raises in the process.

        Raises SourceUnavailable if the process has ended.
        """
        try:
            self._connection.send((replace(plan, previous=None), piece))
            while True:
                match self._connection.recv():
                    case PieceRows() as rows:
                        return rows
                    case _Rows(number):
                        advance(number)
                    case _Message(logger, level, text):
                        logging.getLogger(logger).log(level, "%s", text)
                    case BaseException() as error:
                        raise error
        except (EOFError, ConnectionError):
            code = self._process.wait()
            reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise SourceUnavailable(
                f"A process that read table {plan.table.name} {reason}: nothing was published. The "
                "next attempt does not read again what is stored. If memory was short, lower "
                "TOTES_CONNECTIONS."
            ) from None


class _ParentLog(logging.Handler):
    """Sends log messages to the parent."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(_Message(record.name, record.levelno, record.getMessage()))


def _serve(connection: Connection) -> None:
    start: WorkerStart = connection.recv()
    set_memory_limit(start.memory_mb)
    files = BatchFiles(open_store(start.store_url), start.scratch, start.batch, start.captured_at)

    @contextmanager
    def engine() -> Iterator[duckdb.DuckDBPyConnection]:
        with open_engine(files.scratch, share=_ENGINE_SHARE) as opened:
            opened.execute("SET preserve_insertion_order = true")
            yield opened

    reader = ResumingReader(files, start.xmax, engine, lambda rows: connection.send(_Rows(rows)))
    with open_exported(Dsn(start.dsn), start.exported) as source:
        while True:
            connection.send(reader.read(source, *connection.recv()))


def _end_with_parent(descriptor: int) -> None:
    hung_up = select.poll()
    hung_up.register(descriptor, 0)
    hung_up.poll()
    os._exit(1)


def main(descriptor: int) -> None:
    """Serve the parent at the other end of a socket."""
    connection: Any = Connection(descriptor)
    Thread(target=_end_with_parent, args=[descriptor], daemon=True).start()
    logging.basicConfig(handlers=[_ParentLog(connection)], level=logging.INFO)
    try:
        _serve(connection)
    except EOFError:
        pass
    except BaseException as error:  # noqa: BLE001  the parent raises it
        error.add_note(traceback.format_exc())
        try:
            connection.send(error)
        except Exception:  # noqa: BLE001  an error of a class that can't be sent
            connection.send(RuntimeError(traceback.format_exc()))
