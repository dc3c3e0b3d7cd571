"""Query the warehouse itself: batches, freshness, catalogue, and who may write to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import psycopg
from psycopg import Connection

from totes.config.dsn import Dsn
from totes.dashboard.reading import frame
from totes.errors import UsageError, WarehouseError
from totes.postgres.sqlstate import meaning, message
from totes.sql_text import read_sql
from totes.warehouse.connection import connect
from totes.warehouse.schema import READER, check_migrations


class Bookkeeping:
    """One snapshot of the warehouse, read by a role that may only read."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def run(self, query: str, **values: object) -> pd.DataFrame:
        """Return the result of `QUERY.sql`."""
        cursor = self._connection.execute(read_query(query), values)
        return frame(cursor.fetchall(), [column.name for column in cursor.description or ()])

    def rows(self, query: str, **values: object) -> list[Any]:
        """Return the same as tuples."""
        return self._connection.execute(read_query(query), values).fetchall()


@contextmanager
def open_bookkeeping(dsn: Dsn) -> Iterator[Bookkeeping]:
    """Open a snapshot of the warehouse in a read-only session.

    Raises WarehouseLocked after 2 s if its tables are locked, for example by a replay, and
    WarehouseError if it can't be reached or a query fails: pages report both and retry.
    """
    with connect(dsn) as connection:
        connection.execute(read_query("session"))
        try:
            check_migrations(connection)
            with connection.transaction():
                connection.execute(read_query("snapshot"))
                yield Bookkeeping(connection)
        except psycopg.Error as error:
            if meaning(error) is not None:
                raise
            raise WarehouseError(
                f"A query of the warehouse {dsn} failed: {message(error)}. Run `totes check`."
            ) from error


def refuse_writers(dsn: Dsn) -> None:
    """Raise UsageError if the role of `dsn` may write to the warehouse."""
    with connect(dsn) as connection:
        [(user, schema, may, for_all)] = connection.execute(read_query("may_write")).fetchall()
    if for_all:
        raise UsageError(
            f"The dashboard's role {user} may create tables in the warehouse's schema {schema}, "
            f"like all roles: run `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC` there as the "
            "schema's owner."
        )
    if may is not None:
        raise UsageError(
            f"The dashboard's role {user} may {may}, but it should only read: set "
            "TOTES_DASHBOARD_DSN or TOTES_DASHBOARD_SECRET to a login that only has the role "
            f"{READER}."
        )


def read_query(name: str) -> str:
    """Return the statement of `NAME.sql`."""
    return read_sql(__package__, f"{name}.sql")
