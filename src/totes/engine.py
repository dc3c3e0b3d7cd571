"""DuckDB as the platform's engine for sets, and the folder it works in: one place for both."""

import errno
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from totes.config.settings import DEFAULT_MEMORY_MB
from totes.errors import LakeError, OutOfMemory, TotesError

_PYTHON_MB = 96
"""Memory of a process that Python, its modules and drivers take."""

THREADS = 2


@dataclass
class _Process:
    memory_mb: int = DEFAULT_MEMORY_MB


_process = _Process()


def use_memory(memory_mb: int) -> None:
    """Set how much memory this process may take: the setting TOTES_MEMORY."""
    _process.memory_mb = memory_mb


def limit_memory(engine: duckdb.DuckDBPyConnection, *, share: int = 1, more_mb: int = 0) -> None:
    """Limit an engine's memory to one `share`-th of what Python leaves, and `more_mb`."""
    limit_mb = (_process.memory_mb - _PYTHON_MB) // share + more_mb
    engine.execute(f"SET memory_limit = '{limit_mb}MB'")


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Turn DuckDB's and Python's errors of memory into OutOfMemory, which names `what`."""
    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise _out_of_memory(what) from error


def _out_of_memory(what: str) -> OutOfMemory:
    return OutOfMemory(
        f"{what} needs more memory than TOTES_MEMORY={_process.memory_mb}MB allows: set "
        f"TOTES_MEMORY higher, for example to {4 * _process.memory_mb}MB, and run it again."
    )


_idle: dict[int, deque[duckdb.DuckDBPyConnection]] = {}
"""Instances that wait for their next use, by their `share`."""


@contextmanager
def open_engine(scratch: Path, *, share: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB in UTC that spills into `scratch` and reaches no network.

    `share` of them may run at a time: each gets its part of the memory and of the threads. What is
    made in it must be TEMPORARY: instances are used again, as making one takes longer than most
    batches have for a query.
    """
    idle = _idle.setdefault(share, deque())
    try:
        instance = idle.pop()
    except IndexError:
        instance = duckdb.connect(
            config={
                "threads": THREADS // share,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
    try:
        with instance.cursor() as engine:
            for name, value in {
                "preserve_insertion_order": "false",
                "temp_directory": str(scratch).replace("'", "''"),
                "TimeZone": "UTC",
            }.items():
                engine.execute(f"SET {name} = '{value}'")
            limit_memory(engine, share=share)
            yield engine
    except BaseException:  # in what state it is, nobody knows
        instance.close()
        raise
    try:
        instance.execute("SET temp_directory = ''")
    except duckdb.Error:  # it has spilled, and gives the room back only when it ends
        instance.close()
    else:
        idle.append(instance)


_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_SIGNS = ("No space left on device", "failed to offload data block")
"""How the system and the engine say that a disk has no room."""


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder for a stage's work; LakeError where none can be made or has no room.

    Errors raised from DuckDB's error of a full disk become this LakeError, errors raised from its
    error of memory become OutOfMemory.
    """
    try:
        with _temporary(prefix) as folder:
            yield Path(folder)
    except (OSError, duckdb.Error, TotesError) as error:
        if _is_full(error):
            raise LakeError(
                f"The temporary folder {tempfile.gettempdir()} can't be written (No space left on "
                "device): make room there, or let TMPDIR name another."
            ) from error
        if isinstance(error, OutOfMemory) or not _is_out_of_memory(error):
            raise
        raise _out_of_memory("A batch") from error


def _temporary(prefix: str) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise LakeError(
            f"No temporary folder can be made ({error.strerror}): let TMPDIR name a folder that "
            "this user may write."
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    cause = _cause(error)
    return isinstance(cause, duckdb.Error) and any(sign in str(cause) for sign in _FULL_SIGNS)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(_cause(error), duckdb.OutOfMemoryException)


def _cause(error: Exception) -> BaseException | None:
    """The error that a TotesError was raised from; any other error itself."""
    return error.__cause__ if isinstance(error, TotesError) else error
