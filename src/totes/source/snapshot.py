"""One look at the source: a snapshot over all tables that no schema change can slip under.

The order matters. A rewrite or TRUNCATE that commits between a snapshot and a scan shows the
older snapshot an empty table; so every table is locked first (ACCESS SHARE, for which SELECT is
enough), then the snapshot is taken, then the catalogue is compared with what was locked. Only a
change to a locked table ends the capture; other tables may be created and dropped meanwhile.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import errors, sql

from totes.config.settings import Dsn
from totes.errors import SourceAway, SourceError
from totes.failpoint import reach
from totes.lake.manifest import Identity
from totes.source.catalogue import (
    Catalogue,
    Scope,
    SourceTable,
    read_catalogue,
    require_tables,
)
from totes.source.changes import relation
from totes.source.session import connect

ATTEMPTS = 5
"""How often a schema that changes under the capture's feet is tried again."""

FUNCTIONS = (
    "pg_control_system()",
    "pg_control_checkpoint()",
    "pg_current_snapshot()",
    "pg_current_wal_lsn()",
    "pg_export_snapshot()",
    "pg_is_in_recovery()",
    "pg_relation_size(regclass)",
    "pg_table_size(regclass)",
    "pg_walfile_name(pg_lsn)",
)
"""Functions that a capture calls. An administrator may have revoked them from PUBLIC."""

_LOOK = """
SELECT pg_current_snapshot()::text,
       pg_export_snapshot(),
       clock_timestamp(),
       (SELECT system_identifier FROM pg_control_system())::text,
       (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,
       current_database(),
       -- A standby cannot name its WAL file; its last restart point knows the timeline.
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""


class _SchemaChanged(Exception):
    """A table changed between the look at the catalogue and the lock, or a new one appeared."""


@dataclass(frozen=True)
class Snapshot:
    """An open REPEATABLE READ transaction that sees and locks every table in scope.

    `xmin` and `xmax` are 64-bit: the oldest transaction still running, and the first not started.
    """

    dsn: Dsn
    scope: Scope
    connection: psycopg.Connection
    catalogue: Catalogue
    text: str
    xmin: int
    xmax: int
    exported: str
    taken_at: datetime
    identity: Identity

    @contextmanager
    def another_connection(self) -> Iterator[psycopg.Connection]:
        """A second connection that sees the same snapshot; this one's locks protect it."""
        with connect(self.dsn) as other, other.transaction():
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            other.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.exported)))
            yield other

    def confirm(self) -> None:
        """Check after the scan that what needs no table lock (an enum's labels) stood still."""
        with connect(self.dsn) as fresh:
            now = read_catalogue(fresh, self.scope).tables
        if changed := set(self.catalogue.tables).difference(now):
            names = ", ".join(sorted(table.name for table in changed))
            raise SourceAway(
                f"The schema of {names} changed during the capture: nothing was published, "
                "the next run captures it anew."
            )


def missing_grants(connection: psycopg.Connection) -> list[str]:
    """GRANTs for the functions that a capture calls and that this role may not execute."""
    denied = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name"
        " WHERE NOT has_function_privilege('pg_catalog.' || name, 'EXECUTE')",
        [list(FUNCTIONS)],
    ).fetchall()
    role = sql.Identifier(connection.info.user).as_string(connection)
    return [f"GRANT EXECUTE ON FUNCTION pg_catalog.{name} TO {role};" for (name,) in denied]


def oldest_running(snapshot: str) -> int:
    """The `xmin` of a pg_current_snapshot() printed as text, `xmin:xmax:xip,…`."""
    return int(snapshot.split(":", maxsplit=1)[0])


def next_transaction(snapshot: str) -> int:
    """The `xmax` of a pg_current_snapshot() printed as text."""
    return int(snapshot.split(":")[1])


@contextmanager
def open_snapshot(dsn: Dsn, scope: Scope) -> Iterator[Snapshot]:
    """A Snapshot, closed (and its locks released) at the end of the block."""
    with connect(dsn) as connection:
        if grants := missing_grants(connection):
            raise SourceError(
                f"Role {connection.info.user!r} may not execute functions of the source that a "
                f"capture needs. A superuser can run: {' '.join(grants)}"
            )
        for attempt in range(1, ATTEMPTS + 1):
            expected = read_catalogue(connection, scope)
            require_tables(expected, scope, connection.info.user)
            reach("source.catalogue-read")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                snapshot = _look(dsn, scope, connection, expected, strict=attempt < ATTEMPTS)
            except _SchemaChanged as error:
                connection.rollback()
                if attempt == ATTEMPTS:
                    raise SourceAway(
                        f"The source's schema changed {ATTEMPTS} times while it was being locked "
                        f"({error}): nothing was captured, try again when it is quiet."
                    ) from error
                continue
            yield snapshot
            connection.rollback()
            return


def _lock(connection: psycopg.Connection, tables: Sequence[SourceTable]) -> list[SourceTable]:
    """Lock tables with their members; returns those that still exist."""
    names = sql.SQL(", ").join(map(relation, tables))
    try:
        with connection.transaction():  # a savepoint, to go on from after the error
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except (errors.UndefinedTable, errors.WrongObjectType):
        middle = len(tables) // 2
        halves = (tables[:middle], tables[middle:]) if middle else ()
        return [table for half in halves for table in _lock(connection, half)]
    return list(tables)


def _look(
    dsn: Dsn, scope: Scope, connection: psycopg.Connection, expected: Catalogue, *, strict: bool
) -> Snapshot:
    """Lock the tables and take the snapshot; _SchemaChanged unless the tables are as expected.

    New tables are an error only if `strict`; otherwise the next capture has them.
    """
    locked = _lock(connection, expected.tables)
    reach("source.locked")
    (row,) = connection.execute(_LOOK).fetchall()
    text, exported, taken_at, system, database_oid, database, timeline = row
    reach("source.snapshot-taken")
    seen = read_catalogue(connection, scope)
    known = {table.name for table in expected.tables}
    changed = set(locked).difference(seen.tables)
    changed |= {
        table for table in set(seen.tables).difference(locked) if strict or table.name in known
    }
    if changed or not locked:
        raise _SchemaChanged(", ".join(sorted({table.name for table in changed})) or "all tables")
    return Snapshot(
        dsn=dsn,
        scope=scope,
        connection=connection,
        catalogue=replace(seen, tables=tuple(locked)),
        text=text,
        xmin=oldest_running(text),
        xmax=next_transaction(text),
        exported=exported,
        taken_at=taken_at,
        identity=Identity(
            system_identifier=system,
            database_oid=database_oid,
            timeline=timeline,
            database=database,
        ),
    )
