"""One look at the source: a snapshot over all tables that no schema change can slip under.

The order matters. A rewrite or TRUNCATE that commits between a snapshot and a scan shows the
older snapshot an empty table; so every table is locked first (ACCESS SHARE, for which SELECT is
enough), then the snapshot is taken, then the catalogue is compared with what was locked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from totes.batch import Identity
from totes.errors import SourceError
from totes.failpoint import reach
from totes.settings import Dsn
from totes.source.catalogue import Catalogue, Scope, read_catalogue, require_tables
from totes.source.changes import relation
from totes.source.session import connect

ATTEMPTS = 5
"""How often a schema that changes under the capture's feet is tried again."""

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
    """The catalogue moved between lock and snapshot, or during the scan."""


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
            if read_catalogue(fresh, self.scope).tables != self.catalogue.tables:
                raise SourceError(
                    "The source's schema changed during the capture: nothing was published, "
                    "the next run captures it anew."
                )


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
        for attempt in range(1, ATTEMPTS + 1):
            expected = read_catalogue(connection, scope)
            require_tables(expected, scope, connection.info.user)
            reach("source.catalogue-read")
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                snapshot = _look(dsn, scope, connection, expected)
            except (psycopg.errors.UndefinedTable, _SchemaChanged) as error:
                connection.rollback()
                if attempt == ATTEMPTS:
                    raise SourceError(
                        f"The source's schema changed {ATTEMPTS} times while it was being locked: "
                        "nothing was captured, try again when it is quiet."
                    ) from error
                continue
            yield snapshot
            connection.rollback()
            return


def _look(dsn: Dsn, scope: Scope, connection: psycopg.Connection, expected: Catalogue) -> Snapshot:
    connection.execute(
        sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(
            sql.SQL(", ").join(relation(table) for table in expected.tables)
        )
    )
    reach("source.locked")
    (row,) = connection.execute(_LOOK).fetchall()
    text, exported, taken_at, system, database_oid, database, timeline = row
    reach("source.snapshot-taken")
    if read_catalogue(connection, scope).tables != expected.tables:
        raise _SchemaChanged
    return Snapshot(
        dsn=dsn,
        scope=scope,
        connection=connection,
        catalogue=expected,
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
