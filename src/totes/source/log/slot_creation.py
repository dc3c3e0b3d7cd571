"""Create a replication slot from which every later transaction is decoded exactly.

A new slot can't be used for that at once, for two reasons. A transaction that ran while it was
created may have its commit in the log before the slot's position, and not be visible yet, but the
first scan must see it: so all running transactions are waited for. And if a table was altered or
truncated while the slot was created, PostgreSQL may decode this part of the log wrongly: so the
slot is moved until it starts decoding after its creation.
"""

import time
from contextlib import suppress

import psycopg
from psycopg import errors, sql

from totes.errors import SourceError, SourceUnavailable
from totes.source.log.slot import (
    PLUGIN,
    drop_slot,
    find_blockers,
    read_slot,
    retention_problem,
)
from totes.source.snapshot import read_snapshot_text, snapshot_xmax, snapshot_xmin

_POLL_SECONDS = 0.05

_TEMPORARY_SLOT_TIMEOUT = "100ms"


class SlotBlocked(SourceUnavailable):
    """Open transactions of the source delay the creation of a slot."""


def create_slot(connection: psycopg.Connection, name: str, seconds: float) -> int:
    """Create a slot, and return its position; an unused slot of this name is replaced.

    Raises SlotBlocked if that takes longer than `seconds`; then there is no slot. Raises
    SourceError if the server has no limit for the log that a slot retains.
    """
    if problem := retention_problem(connection):
        raise SourceError(problem)
    deadline = time.monotonic() + seconds
    while (slot := read_slot(connection, name)) is not None:
        if not slot.active or time.monotonic() > deadline:
            drop_slot(connection, name)
        else:  # its reader has ended, and the server has not noticed that yet
            time.sleep(_POLL_SECONDS)
    try:
        _create(connection, name, seconds)
        _wait_for_running_transactions(connection, deadline)
        position = _advance_past_creation(connection, name, deadline)
        # The slot has passed their commits, which may not be visible yet.
        _wait_for_running_transactions(connection, deadline)
    except (TimeoutError, errors.QueryCanceled, errors.LockNotAvailable):
        blockers = find_blockers(connection)
        if read_slot(connection, name) is not None:
            drop_slot(connection, name)
        raise SlotBlocked(
            f"The replication slot {name} can't be created while transactions are open in the "
            f"source ({'; '.join(blockers) or 'none is open now'}): the tables are "
            "scanned until then."
        ) from None
    except BaseException:
        with suppress(psycopg.Error, SourceError):
            drop_slot(connection, name)
        raise
    return position


def _create(connection: psycopg.Connection, name: str, seconds: float) -> None:
    with connection.transaction():
        _set_timeout(connection, f"{seconds:.0f}s")
        connection.execute("SELECT pg_create_logical_replication_slot(%s, %s)", [name, PLUGIN])


def _wait_for_running_transactions(connection: psycopg.Connection, deadline: float) -> None:
    """Wait until all transactions that are running now have ended."""
    xmax = snapshot_xmax(read_snapshot_text(connection))
    while snapshot_xmin(read_snapshot_text(connection)) < xmax:
        _pause(deadline)


def _advance_past_creation(connection: psycopg.Connection, name: str, deadline: float) -> int:
    """Move the slot until it starts decoding after its creation; return its position."""
    created = _positions(connection, name)[1]
    while _positions(connection, name)[0] < created:
        _log_running_transactions(connection, f"{name}_start"[-63:])
        connection.execute(
            "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", [name]
        )
        if _positions(connection, name)[0] < created:
            _pause(deadline)
    return _positions(connection, name)[1]


def _log_running_transactions(connection: psycopg.Connection, name: str) -> None:
    """Let the server log its running transactions, which it otherwise does every 15 seconds.

    It also does so when it begins to create a slot. Only a superuser has another way.
    """
    with (
        suppress(errors.QueryCanceled, errors.ConfigurationLimitExceeded),
        connection.transaction(),
    ):
        _set_timeout(connection, _TEMPORARY_SLOT_TIMEOUT)
        connection.execute(
            "SELECT pg_create_logical_replication_slot(%s, %s, temporary => true)",
            [name, PLUGIN],
        )
    with suppress(errors.UndefinedObject):
        connection.execute("SELECT pg_drop_replication_slot(%s)", [name])


def _set_timeout(connection: psycopg.Connection, timeout: str) -> None:
    """Limit the time of a transaction's statements, whether they wait for a lock or not."""
    connection.execute(
        sql.SQL("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = {}").format(timeout)
    )


def _positions(connection: psycopg.Connection, name: str) -> tuple[int, int]:
    """Return where the slot starts decoding, and the position that it has confirmed."""
    slot = read_slot(connection, name)
    if slot is None or slot.restart is None or slot.confirmed is None:
        raise SourceUnavailable(f"The replication slot {name} was dropped while it was created.")
    return slot.restart, slot.confirmed


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError
    time.sleep(_POLL_SECONDS)
