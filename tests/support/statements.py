"""The engine that runs statements of users, in the process of the test."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from totes.dashboard.explore import worker
from totes.dashboard.explore.sandbox import request_of
from totes.dashboard.replica import Replica

_LIMITS = {**request_of("", {}, 128), "shown_rows": 50, "counted_rows": 50, "bytes": 10_000}


@contextmanager
def open_engine(replica: Replica, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A worker's engine for a copy of the replica's newest state."""
    replica.refresh()
    assert replica.copy_star(folder / worker.DATABASE)
    with chdir(folder):
        engine = worker.open_engine(_LIMITS)
    with engine:
        yield engine


def answer(engine: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any]:
    """A worker's answer for a statement."""
    try:
        return worker.answer(engine, {**_LIMITS, "statement": statement})
    except duckdb.Error as error:
        return {"error": str(error)}
