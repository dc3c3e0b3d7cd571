"""Fills a totesys: creates its tables, and inserts reference rows and any number of orders."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from math import ceil
from random import Random

import psycopg
from psycopg import sql

from totes.config.dsn import Dsn
from totes.demo.simulator.reference import (
    ADDRESSES,
    COUNTERPARTIES,
    DESIGNS,
    STAFF,
    Row,
    reference_rows,
)
from totes.embedded.schema import totesys_sql
from totes.errors import SourceError, UsageError
from totes.postgres.session import SOURCE, is_raised_by, open_session
from totes.postgres.sqlstate import meaning, message
from totes.sql_text import read_sql

LAST_DAY = date(2024, 11, 1)
"""The default date of the last orders of `bulk`, MAX_WEEKDAYS after the live totesys began.

It is fixed, so that the same arguments give the same rows on any day.
"""

ORDERS_PER_WEEKDAY = 35
"""Sales and purchase orders per weekday, as in the live totesys."""

MAX_WEEKDAYS = 520
"""Orders are distributed over at most this many weekdays: more orders are more on each weekday."""

FRIDAY = 4
"""As `date.weekday()` counts."""

SETTINGS = {"search_path": "public"}


@contextmanager
def totesys_errors(dsn: Dsn) -> Iterator[None]:
    """Turn expected errors into SourceErrors: no connection, missing tables or privileges."""
    try:
        yield
    except psycopg.Error as error:
        if not is_raised_by(SOURCE, error) or meaning(error) is None:
            raise
        raise SourceError(
            f"The simulated business can't write to {dsn}: {message(error)}. It needs a role with "
            "the privilege to write, and the tables of data/totesys.sql or an empty database."
        ) from error


def connect(dsn: Dsn, *, autocommit: bool = False) -> psycopg.Connection:
    """Connect to a totesys; raise SourceError if it can't be reached."""
    with totesys_errors(dsn):
        connection = open_session(dsn, SOURCE, SETTINGS)
    connection.autocommit = autocommit
    return connection


def prepare(dsn: Dsn) -> bool:
    """Create the tables of totesys if the database has none; return whether it had none."""
    with connect(dsn) as connection:
        row = connection.execute("SELECT to_regclass('public.sales_order')").fetchone()
        is_empty = row == (None,)
        if is_empty:
            connection.execute(totesys_sql())
        return is_empty


def seed_reference(connection: psycopg.Connection, seed: int) -> None:
    """Insert staff, designs, counterparties … in the connection's transaction, with ids from 1."""
    for table, rows in reference_rows(Random(seed)):  # noqa: S311  no secrets
        # If this was interrupted before, its rows were rolled back, but not the sequences.
        sequence = "SELECT setval(pg_get_serial_sequence(%s, %s), 1, false)"
        connection.execute(sequence, [table, f"{table}_id"])
        for row in rows:
            insert(connection, table, row)


def bulk(  # noqa: PLR0913  options of the data set
    dsn: Dsn,
    *,
    orders: int,
    purchases: int | None = None,
    seed: int = 1,
    last_day: date = LAST_DAY,
    weekdays: int | None = None,
    settled: bool = False,
) -> None:
    """Fill an empty totesys with `orders` sales orders, purchase orders, transactions and payments.

    There are two purchase orders for five sales orders unless `purchases` is given. The orders are
    distributed evenly over `weekdays`: by default as many as the live totesys needs for them. The
    last is just before closing time on `last_day`, or on the Friday before it. Payments that `pay`
    skips stay open, as in the live totesys; with `settled`, most of them are paid late. The server
    generates the rows in one transaction; the same arguments give the same rows. Raises UsageError
    if there are orders.
    """
    purchases = orders * 2 // 5 if purchases is None else purchases
    if weekdays is None:
        weekdays = min(ceil((orders + purchases) / ORDERS_PER_WEEKDAY), MAX_WEEKDAYS)
    friday = last_day + timedelta(days=FRIDAY - last_day.weekday())
    prepare(dsn)
    with connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            if connection.execute('SELECT FROM "transaction" LIMIT 1').fetchone() is not None:
                raise UsageError(
                    f"{dsn} has orders already: orders can only be inserted in bulk into an empty "
                    "totesys."
                )
            if connection.execute("SELECT FROM currency LIMIT 1").fetchone() is None:
                seed_reference(connection, seed)
            connection.execute(
                script("bulk").format(
                    orders=orders,
                    purchases=purchases,
                    deals=sql.SQL("{}::bigint").format(orders + purchases),
                    seed=sql.SQL("{}::bigint").format(seed),
                    weekdays=sql.SQL("{}::bigint").format(weekdays),
                    friday=friday,
                    weekdays_after=max(0, (friday - last_day).days),
                    staff=STAFF,
                    counterparties=COUNTERPARTIES,
                    addresses=ADDRESSES,
                    designs=DESIGNS,
                )
            )
            if settled and (newest := connection.execute(script("newest")).fetchone()):
                connection.execute(script("settle"), {"at": newest[0]})
        connection.execute("VACUUM (ANALYZE)")


def script(name: str) -> sql.SQL:
    """Return the SQL in the file of this name beside this module."""
    return sql.SQL(read_sql(__package__, f"{name}.sql"))


def insert(connection: psycopg.Connection, table: str, row: Row) -> int:
    """Insert one row; return its id."""
    key = sql.Identifier(f"{table}_id")
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
        key,
    )
    returned = connection.execute(statement, list(row.values())).fetchone()
    assert returned is not None  # noqa: S101  RETURNING of one row
    return int(returned[0])
