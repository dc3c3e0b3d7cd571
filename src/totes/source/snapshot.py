"""One snapshot of all source tables, protected against concurrent schema changes.

If a table is rewritten or truncated between the snapshot and its scan, the snapshot sees it as
empty. So all tables are locked first (ACCESS SHARE, for which the SELECT privilege is enough), then
the snapshot is taken, then the catalogue is read again and compared. Only a change to a locked
table ends the capture. Other tables may be created and dropped at any time.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import psycopg
from psycopg import errors, sql

from totes.config.dsn import Dsn
from totes.errors import SourceError, SourceUnavailable
from totes.failpoint import reach
from totes.lake.manifest import Identity
from totes.source.catalogue import (
    CaptureScope,
    Catalogue,
    SourceTable,
    read_catalogue,
    require_tables,
)
from totes.source.changes import from_item
from totes.source.session import connect

MAX_ATTEMPTS = 5
"""How often to start again when the schema changes before the snapshot is taken."""

REQUIRED_FUNCTIONS = (
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
"""Functions that a capture calls. An administrator may have revoked EXECUTE from PUBLIC."""

_SNAPSHOT_QUERY = """
SELECT pg_current_snapshot()::text,
       pg_export_snapshot(),
       clock_timestamp(),
       (SELECT system_identifier FROM pg_control_system())::text,
       (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,
       current_database(),
       -- A standby can't name its WAL file; its last restart point has the timeline.
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
"""


class _SchemaChanged(Exception):
    """A table was altered, or a new one created, after the catalogue was read."""


@dataclass(frozen=True)
class Snapshot:
    """An open REPEATABLE READ transaction that holds a lock on every table in scope.

    `text` is its pg_current_snapshot(). `xmin` and `xmax` are the 64-bit ids of the oldest
    transaction that was still running, and of the next one. `exported` is the name under which
    other sessions can use the snapshot. `taken_at` is its time by the source's clock.
    """

    dsn: Dsn
    scope: CaptureScope
    connection: psycopg.Connection
    catalogue: Catalogue
    text: str
    xmin: int
    xmax: int
    exported: str
    taken_at: datetime
    identity: Identity

    def second_connection(self) -> AbstractContextManager[psycopg.Connection]:
        """Yield another connection to the same snapshot, which the first one's locks protect."""
        return open_exported(self.dsn, self.exported)

    def check_unchanged(self) -> None:
        """Raise SourceUnavailable if the schema has changed in a way that needs no table lock.

        For example, an enum's label was renamed. Call this after the scan.
        """
        with connect(self.dsn) as connection:
            tables_now = read_catalogue(connection, self.scope).tables
        if changed := set(self.catalogue.tables).difference(tables_now):
            names = ", ".join(sorted(table.name for table in changed))
            raise SourceUnavailable(
                f"The schema of {names} changed during the capture: nothing was published, "
                "the next run captures it again."
            )


@contextmanager
def open_exported(dsn: Dsn, exported: str) -> Iterator[psycopg.Connection]:
    """Yield a connection to a snapshot that another session has exported, and keeps open."""
    with connect(dsn) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))
        yield connection


def find_missing_grants(connection: psycopg.Connection) -> list[str]:
    """Return GRANT statements for the functions that a capture needs and this role lacks."""
    denied = connection.execute(
        "SELECT name FROM unnest(%s::text[]) AS name"
        " WHERE NOT has_function_privilege('pg_catalog.' || name, 'EXECUTE')",
        [list(REQUIRED_FUNCTIONS)],
    ).fetchall()
    role = sql.Identifier(connection.info.user).as_string(connection)
    return [f"GRANT EXECUTE ON FUNCTION pg_catalog.{name} TO {role};" for (name,) in denied]


def snapshot_xmin(snapshot: str) -> int:
    """Return the xmin of a pg_current_snapshot() as text: `xmin:xmax:xip,…`."""
    return int(snapshot.split(":", maxsplit=1)[0])


def snapshot_xmax(snapshot: str) -> int:
    """Return the xmax of a pg_current_snapshot() as text: `xmin:xmax:xip,…`."""
    return int(snapshot.split(":")[1])


def read_label_digest(connection: psycopg.Connection) -> str:
    """Return a digest of pg_enum, which changes when a label is renamed, even if renamed back."""
    [(digest,)] = connection.execute(
        "SELECT coalesce(md5(string_agg(oid || ' ' || xmin, ',' ORDER BY oid)), '') FROM pg_enum"
    ).fetchall()
    return str(digest)


def read_snapshot_text(connection: psycopg.Connection) -> str:
    """Return the pg_current_snapshot() of a connection as text."""
    [(text,)] = connection.execute("SELECT pg_current_snapshot()::text").fetchall()
    return str(text)


class VisibleTransactions:
    """The transactions that a pg_current_snapshot() sees, given as text: `xmin:xmax:xip,…`.

    The snapshot does not list subtransactions: ask only for ids of top-level transactions.
    """

    def __init__(self, snapshot: str) -> None:
        xmin, xmax, running = snapshot.split(":")
        self._xmin, self._xmax = int(xmin), int(xmax)
        self._running = frozenset(map(int, filter(None, running.split(","))))

    def sees(self, xid: int) -> bool:
        """Return whether the changes of a committed transaction, of 64-bit id, are visible."""
        return xid < self._xmin or (xid < self._xmax and xid not in self._running)

    def include(self, earlier: "VisibleTransactions") -> bool:
        """Return whether this snapshot sees all transactions that another one sees."""
        is_later = self._xmax >= earlier._xmax  # noqa: SLF001  of the same class
        return is_later and not any(map(earlier.sees, self._running))


@contextmanager
def open_snapshot(dsn: Dsn, scope: CaptureScope) -> Iterator[Snapshot]:
    """Yield a Snapshot; the end of the block closes it and releases its locks.

    Raises SourceError if the role lacks privileges, and SourceUnavailable if tables are locked or
    change all the time.
    """
    with connect(dsn) as connection:
        if grants := find_missing_grants(connection):
            raise SourceError(
                f"Role {connection.info.user!r} may not execute functions in the source that a "
                f"capture needs. A superuser can run: {' '.join(grants)}"
            )
        for attempt in range(1, MAX_ATTEMPTS + 1):
            expected = read_catalogue(connection, scope)
            require_tables(expected, scope, connection.info.user)
            reach("source.catalogue-read")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                snapshot = _take_snapshot(
                    dsn, scope, connection, expected, strict=attempt < MAX_ATTEMPTS
                )
            except _SchemaChanged as error:
                connection.rollback()
                if attempt == MAX_ATTEMPTS:
                    raise SourceUnavailable(
                        f"The source's schema changed {MAX_ATTEMPTS} times while its tables were "
                        f"being locked ({error}): nothing was captured, try again after the schema "
                        "changes."
                    ) from error
                continue
            yield snapshot
            connection.rollback()
            return


def _lock(connection: psycopg.Connection, tables: Sequence[SourceTable]) -> list[SourceTable]:
    """Lock tables with their members; return those that still exist."""
    names = sql.SQL(", ").join(map(from_item, tables))
    try:
        with connection.transaction():  # a savepoint: the transaction survives the error
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except (errors.UndefinedTable, errors.WrongObjectType):
        middle = len(tables) // 2
        halves = (tables[:middle], tables[middle:]) if middle else ()
        return [table for half in halves for table in _lock(connection, half)]
    return list(tables)


def _take_snapshot(
    dsn: Dsn,
    scope: CaptureScope,
    connection: psycopg.Connection,
    expected: Catalogue,
    *,
    strict: bool,
) -> Snapshot:
    """Lock the tables and take the snapshot; raise _SchemaChanged if a table was altered.

    A new table raises it only if `strict`; else the next capture includes the table.
    """
    locked = _lock(connection, expected.tables)
    reach("source.locked")
    (row,) = connection.execute(_SNAPSHOT_QUERY).fetchall()
    text, exported, taken_at, system, database_oid, database, timeline = row
    reach("source.snapshot-taken")
    catalogue = read_catalogue(connection, scope)
    expected_names = {table.name for table in expected.tables}
    changed = set(locked).difference(catalogue.tables)
    changed |= {
        table
        for table in set(catalogue.tables).difference(locked)
        if strict or table.name in expected_names
    }
    if changed or not locked:
        raise _SchemaChanged(", ".join(sorted({table.name for table in changed})) or "all tables")
    return Snapshot(
        dsn=dsn,
        scope=scope,
        connection=connection,
        catalogue=replace(catalogue, tables=tuple(locked)),
        text=text,
        xmin=snapshot_xmin(text),
        xmax=snapshot_xmax(text),
        exported=exported,
        taken_at=taken_at,
        identity=Identity(
            system_identifier=system,
            database_oid=database_oid,
            timeline=timeline,
            database=database,
        ),
    )
