"""DuckDB as the platform's engine for sets, and the folder it works in: one place for both."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from totes.errors import LakeError, TotesError

MEMORY_MB = 96
"""What the engines of a process may hold before they spill to disk; Python adds its own."""

THREADS = 2


def open_engine(scratch: Path, *, share: int = 1) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that spills into `scratch` and reaches no network.

    `share` of them may run at a time: each gets its part of the memory and of the threads.
    """
    engine = duckdb.connect(
        config={
            "memory_limit": f"{MEMORY_MB // share}MB",
            "threads": THREADS // share,
            "preserve_insertion_order": False,
            "temp_directory": str(scratch),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    engine.execute("SET TimeZone = 'UTC'")
    return engine


_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_SIGNS = ("No space left on device", "failed to offload data block")
"""How the system and the engine say that a disk has no room."""


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder for a stage's work; LakeError where its disk has no room.

    That is said whatever the engine's failure was taken for on its way here.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=prefix) as folder:
            yield Path(folder)
    except (OSError, duckdb.Error, TotesError) as error:
        if not _is_full(error):
            raise
        raise LakeError(
            f"The temporary folder {tempfile.gettempdir()} can't be written (No space left on "
            "device): make room there, or let TMPDIR name another."
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL
    engines = error.__cause__ if isinstance(error, TotesError) else error
    return isinstance(engines, duckdb.Error) and any(sign in str(engines) for sign in _FULL_SIGNS)
