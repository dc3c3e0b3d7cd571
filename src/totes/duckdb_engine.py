"""DuckDB connections, their memory limit, and their temporary folder.

DuckDB is imported at first use: most runs find no changes and do not need it.
"""

# ruff: noqa: PLC0415  as the docstring says

import errno
import fcntl
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from totes.config.settings import DEFAULT_MEMORY_MB
from totes.errors import LakeError, OutOfMemory, TotesError

if TYPE_CHECKING:
    import duckdb

_PYTHON_MB = 96
"""Memory that Python, its modules and the drivers use in a process."""

THREADS = 2


@dataclass
class _ProcessLimits:
    memory_mb: int = DEFAULT_MEMORY_MB


_limits = _ProcessLimits()


def set_memory_limit(memory_mb: int) -> None:
    """Set the memory limit of this process, the setting TOTES_MEMORY."""
    _limits.memory_mb = memory_mb


def memory_limit() -> int:
    """Return the memory limit of this process, in megabytes."""
    return _limits.memory_mb


def limit_memory(engine: "duckdb.DuckDBPyConnection", *, share: int = 1, extra_mb: int = 0) -> None:
    """Set an engine's memory limit to 1/`share` of the memory for DuckDB, plus `extra_mb`."""
    limit_mb = (_limits.memory_mb - _PYTHON_MB) // share + extra_mb
    engine.execute(f"SET memory_limit = '{limit_mb}MB'")


@contextmanager
def convert_memory_errors(operation: str) -> Iterator[None]:
    """Convert memory errors of DuckDB and Python to OutOfMemory, which names `operation`."""
    import duckdb

    try:
        yield
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise _out_of_memory(operation) from error


def _out_of_memory(operation: str) -> OutOfMemory:
    return OutOfMemory(
        f"{operation} needs more memory than TOTES_MEMORY={_limits.memory_mb}MB allows: set "
        f"TOTES_MEMORY to a larger value, such as {4 * _limits.memory_mb}MB, and run it again."
    )


def first_line(error: "duckdb.Error") -> str:
    """Return the first line of DuckDB's message, without the quoted statement that follows."""
    return str(error).splitlines()[0]


_idle_connections: dict[int, "deque[duckdb.DuckDBPyConnection]"] = {}
"""Connections that can be used again, by their `share`."""


@contextmanager
def open_engine(scratch: Path, *, share: int = 1) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Open an in-memory DuckDB in UTC that spills to `scratch` and uses no network.

    Up to `share` of them can run concurrently: each gets its share of the memory and threads. All
    objects created in it must be TEMPORARY, because databases are reused: opening one takes longer
    than most queries of a batch.
    """
    import duckdb

    idle = _idle_connections.setdefault(share, deque())
    try:
        database = idle.pop()
    except IndexError:
        database = duckdb.connect(
            config={
                "threads": THREADS // share,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
    try:
        with database.cursor() as engine:
            for name, value in {
                "preserve_insertion_order": "false",
                "temp_directory": str(scratch).replace("'", "''"),
                "TimeZone": "UTC",
            }.items():
                engine.execute(f"SET {name} = '{value}'")
            limit_memory(engine, share=share)
            yield engine
    except BaseException:  # the state of the connection is unknown
        database.close()
        raise
    try:
        database.execute("SET temp_directory = ''")
    except duckdb.Error:  # it has spilled, and frees the disk space only when it is closed
        database.close()
    else:
        idle.append(database)


_DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_DISK_FULL_MESSAGES = ("No space left on device", "failed to offload data block")
"""Parts of messages of the system and of DuckDB about a full disk."""


_SCRATCH = "totes-scratch-"
"""The beginning of the names of scratch folders; no other program uses it."""


def remove_dead_scratch_folders() -> None:
    """Delete the scratch folders of processes that were killed: those that are not locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with suppress(OSError), _lock(folder):  # another user's folder can't be opened
            shutil.rmtree(folder)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock a folder, until the end of the block or of this process; OSError if it is locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Create a temporary folder, deleted at the end; LakeError if this fails or the disk is full.

    An error that a full disk in DuckDB has caused is converted to this LakeError, and one that its
    memory limit has caused to OutOfMemory.
    """
    import duckdb

    try:
        with ExitStack() as stack:
            yield _make_locked_folder(stack, f"{_SCRATCH}{name}-")
    except (OSError, duckdb.Error, TotesError) as error:
        if _is_disk_full(error):
            raise LakeError(
                f"The temporary folder {tempfile.gettempdir()} can't be written (No space left on "
                "device): free disk space, or set TMPDIR to another folder."
            ) from error
        if isinstance(error, OutOfMemory) or not _is_out_of_memory(error):
            raise
        raise _out_of_memory("A batch") from error


def _make_locked_folder(stack: ExitStack, prefix: str) -> Path:
    """Create a folder and lock it, which `stack` undoes.

    Before it is locked, another process may delete it as that of a killed process.
    """
    while True:
        folder = Path(stack.enter_context(_make_folder(prefix)))
        try:
            stack.enter_context(_lock(folder))
        except (BlockingIOError, FileNotFoundError):
            continue
        except OSError:  # some network file systems have no locks
            return folder
        if folder.exists():
            return folder


def _make_folder(prefix: str) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        if error.errno in _DISK_FULL_ERRNOS:
            raise
        raise LakeError(
            f"No temporary folder can be created ({error.strerror}): set TMPDIR to a folder that "
            "this user may write."
        ) from error


def is_out_of_room(error: Exception) -> bool:
    """Return whether an error says that the disk is full or that memory does not suffice."""
    return _is_disk_full(error) or _is_out_of_memory(error)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL_ERRNOS
    import duckdb

    cause = _cause(error)
    return isinstance(cause, duckdb.Error) and any(
        text in str(cause) for text in _DISK_FULL_MESSAGES
    )


def _is_out_of_memory(error: Exception) -> bool:
    import duckdb

    return isinstance(_cause(error), duckdb.OutOfMemoryException)


def _cause(error: Exception) -> BaseException | None:
    """Return the error that a TotesError was raised from, or any other error itself."""
    return error.__cause__ if isinstance(error, TotesError) else error
