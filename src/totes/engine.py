"""DuckDB as the platform's engine for sets: one place for its settings."""

from pathlib import Path

import duckdb

MEMORY_MB = 96
"""What one engine may hold before it spills to disk; the process adds its own."""


def open_engine(scratch: Path, *, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB in UTC that spills into `scratch` and reaches no network."""
    engine = duckdb.connect(
        config={
            "memory_limit": f"{MEMORY_MB}MB",
            "threads": threads,
            "preserve_insertion_order": False,
            "temp_directory": str(scratch),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    engine.execute("SET TimeZone = 'UTC'")
    return engine
