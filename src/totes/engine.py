"""DuckDB as the platform's engine for sets: one place for its settings."""

from pathlib import Path

import duckdb

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
