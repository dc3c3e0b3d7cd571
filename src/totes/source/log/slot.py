"""The replication slot: its state, what prevents its creation, and its removal.

A slot makes the server keep the write-ahead log that the slot's reader has not confirmed.
"""

from dataclasses import dataclass

import psycopg
from psycopg import errors
from psycopg.rows import class_row

from totes.errors import SourceError

PLUGIN = "pgoutput"
"""The server's own output plug-in."""

_SLOT_QUERY = """
SELECT
    s.slot_name::text AS name,
    s.plugin::text AS plugin,
    s.database::text AS database,
    coalesce(s.database = current_database(), false) AS is_of_this_database,
    s.active,
    s.active_pid,
    (s.confirmed_flush_lsn - '0/0')::bigint AS confirmed,
    (s.restart_lsn - '0/0')::bigint AS restart,
    (
        CASE
            WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_insert_lsn()
        END - s.restart_lsn
    )::bigint AS retained_bytes,
    s.wal_status,
    to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason  -- from PostgreSQL 17 on
FROM pg_replication_slots AS s
WHERE s.slot_name = %s
"""

_BLOCKERS_QUERY = """
SELECT concat_ws(', ',
    'transaction of process ' || pid,
    'user ' || usename,
    'database ' || datname,
    'open since ' || to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL
UNION ALL
SELECT concat_ws(', ',
    'prepared transaction ' || quote_literal(gid),
    'user ' || owner,
    'database ' || database,
    'prepared at ' || to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
FROM pg_prepared_xacts
ORDER BY 1
"""


@dataclass(frozen=True)
class SlotState:
    """A replication slot as the server describes it.

    `confirmed` and `restart` are positions in the log: the reader has everything before
    `confirmed`, and the server keeps the log from `restart` on, which is `retained_bytes` long.
    All three are None for a slot that reserves no log. `wal_status` is PostgreSQL's: reserved,
    extended, unreserved or lost. `invalidation_reason` is None before PostgreSQL 17.
    """

    name: str
    plugin: str | None
    database: str | None
    is_of_this_database: bool
    active: bool
    active_pid: int | None
    confirmed: int | None
    restart: int | None
    retained_bytes: int | None
    wal_status: str | None
    invalidation_reason: str | None

    @property
    def is_lost(self) -> bool:
        """Whether the server has removed log that the reader still needs."""
        return self.wal_status == "lost" or self.invalidation_reason is not None

    @property
    def misuse(self) -> str:
        """Why the platform can't have created this slot; empty if it can have."""
        if self.plugin is None:
            return f"replication slot {self.name} is physical: another program uses it"
        if self.plugin != PLUGIN:
            return (
                f"replication slot {self.name} has output plug-in {self.plugin}, not {PLUGIN}: "
                "another program uses it"
            )
        if not self.is_of_this_database:
            return f"replication slot {self.name} belongs to database {self.database}"
        return ""


def read_slot(connection: psycopg.Connection, name: str) -> SlotState | None:
    """Return the state of a slot of the server, of any database; None if there is no such slot."""
    with connection.cursor(row_factory=class_row(SlotState)) as cursor:
        return cursor.execute(_SLOT_QUERY, [name]).fetchone()


def drop_slot(connection: psycopg.Connection, name: str) -> None:
    """Remove the platform's slot; the server then keeps no more log for it.

    Raises SourceError if it does not exist, is in use, or is another program's or database's.
    """
    slot = read_slot(connection, name)
    if slot is None:
        raise SourceError(_no_slot(name))
    if slot.misuse:
        raise SourceError(f"Nothing was removed: {slot.misuse} (TOTES_LOG_SLOT).")
    try:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
    except errors.ObjectInUse:
        slot = read_slot(connection, name)
        process = f" by process {slot.active_pid}" if slot and slot.active_pid else ""
        raise SourceError(
            f"Replication slot {name} is in use{process}: stop `totes run` and other programs "
            "that read it, then try again."
        ) from None
    except errors.UndefinedObject:  # another process was first
        raise SourceError(_no_slot(name)) from None


def _no_slot(name: str) -> str:
    return f"There is no replication slot {name} (TOTES_LOG_SLOT)."


def find_blockers(connection: psycopg.Connection) -> list[str]:
    """Return a description of each transaction that a new slot would wait for.

    These are the open transactions that have written, and the prepared ones, of all databases.
    Every role sees them, but not when the transactions of other roles began.
    """
    return [clause for (clause,) in connection.execute(_BLOCKERS_QUERY)]


def retention_problem(connection: psycopg.Connection) -> str:
    """Return why a slot must not be created on this server; empty if it may be.

    Without max_slot_wal_keep_size, a slot that no process reads fills the server's disk.
    """
    [(size,)] = connection.execute("SELECT current_setting('max_slot_wal_keep_size')").fetchall()
    if size != "-1":
        return ""
    return (
        "max_slot_wal_keep_size of the source is -1: a replication slot that no process reads "
        "would fill its disk"
    )


RETENTION_ADVICE = (
    "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf(); with a size below "
    "the free disk space. On RDS, set it in the parameter group, in MB."
)
"""What to do about a `retention_problem`."""
