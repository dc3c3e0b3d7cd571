"""Replicas of the tests' warehouses: one for each, which lives on with its changes."""

import atexit
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from totes.config.dsn import Dsn
from totes.dashboard import reading
from totes.dashboard.reading import Reading
from totes.dashboard.replica import Replica, open_replica

MEMORY_MB = 256

_STACK = ExitStack()
_REPLICAS: dict[str, Replica] = {}

atexit.register(_STACK.close)


def replica_of(warehouse: Dsn) -> Replica:
    """The replica of a warehouse; the same for the same one."""
    key = warehouse.reveal()
    if key not in _REPLICAS:
        folder = Path(_STACK.enter_context(tempfile.TemporaryDirectory()))
        _REPLICAS[key] = _STACK.enter_context(open_replica(folder, warehouse, memory_mb=MEMORY_MB))
    return _REPLICAS[key]


@contextmanager
def open_reading(warehouse: Dsn) -> Iterator[Reading]:
    """A reading of the warehouse's present state."""
    replica = replica_of(warehouse)
    replica.refresh()
    with reading.open_reading(replica) as opened:
        yield opened
