"""Fills a totesys: its tables, the rows besides the orders, and orders by the million."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from importlib.resources import files
from random import Random

import psycopg
from psycopg import sql

from totes.config.settings import Dsn
from totes.demo.simulator.reference import (
    ADDRESSES,
    COUNTERPARTIES,
    DESIGNS,
    STAFF,
    Row,
    reference,
)
from totes.embedded.schema import totesys_sql
from totes.errors import SourceError, UsageError
from totes.postgres.session import SOURCE, is_raised_by, open_session
from totes.postgres.sqlstate import meaning, message

FIRST_DAY = date(2022, 11, 7)
"""When the first orders of `bulk` are made."""

DAYS = 520
"""Weekdays that many orders are spread over; fewer keep the live pace of 35 a day."""


SETTINGS = {
    "search_path": "public",  # where its tables are made and sought
}


@contextmanager
def reported(dsn: Dsn) -> Iterator[None]:
    """Turn expected errors of a totesys into SourceErrors: it is away, lacks tables or rights."""
    try:
        yield
    except psycopg.Error as error:
        if not is_raised_by(SOURCE, error) or meaning(error) is None:
            raise
        raise SourceError(
            f"The business can't work in {dsn}: {message(error)}. It needs a role that may write "
            "there, and the tables of data/totesys.sql or an empty database."
        ) from error


def connect(dsn: Dsn, *, autocommit: bool = False) -> psycopg.Connection:
    """A connection to a totesys; SourceError where it can't be reached."""
    with reported(dsn):
        connection = open_session(dsn, SOURCE, SETTINGS)
    connection.autocommit = autocommit
    return connection


def prepare(dsn: Dsn) -> bool:
    """Create totesys' tables where the database has none; whether it had none."""
    with connect(dsn) as connection:
        known = connection.execute("SELECT to_regclass('public.sales_order')").fetchone()
        new = known == (None,)
        if new:
            connection.execute(totesys_sql())
        return new


def seed_reference(connection: psycopg.Connection, seed: int) -> None:
    """Insert staff, designs, counterparties … in `connection`'s transaction; ids run from 1."""
    for table, rows in reference(Random(seed)):  # noqa: S311  a game, no secrets
        # A filling that was interrupted took its rows back, but not the numbers it drew.
        sequence = "SELECT setval(pg_get_serial_sequence(%s, %s), 1, false)"
        connection.execute(sequence, [table, f"{table}_id"])
        for row in rows:
            insert(connection, table, row)


def bulk(  # noqa: PLR0913  what a business is made of
    dsn: Dsn,
    *,
    orders: int,
    purchases: int | None = None,
    seed: int = 1,
    first_day: date = FIRST_DAY,
    settled: bool = False,
) -> None:
    """Fill an empty totesys with `orders` sales orders and all that belongs to them.

    Purchase orders are two for five sales orders unless told. The first orders are of the Monday
    of `first_day`'s week. What the paying batch leaves behind is open for ever, as in the live
    totesys; `settled`, most of it was paid by hand. Made by the server in sets, in one
    transaction; the same arguments give the same rows. UsageError where orders exist already.
    """
    purchases = orders * 2 // 5 if purchases is None else purchases
    prepare(dsn)
    script = _text("bulk")
    with connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            if connection.execute('SELECT FROM "transaction" LIMIT 1').fetchone() is not None:
                raise UsageError(f"{dsn} has orders already: bulk filling needs an empty totesys.")
            if connection.execute("SELECT FROM currency LIMIT 1").fetchone() is None:
                seed_reference(connection, seed)
            connection.execute(
                sql.SQL(script).format(
                    orders=orders,
                    purchases=purchases,
                    deals=sql.SQL("{}::bigint").format(orders + purchases),
                    seed=sql.SQL("{}::bigint").format(seed),
                    monday=first_day - timedelta(days=first_day.weekday()),
                    days=DAYS,
                    staff=STAFF,
                    counterparties=COUNTERPARTIES,
                    addresses=ADDRESSES,
                    designs=DESIGNS,
                )
            )
            if settled and (newest := connection.execute(_text("newest").encode()).fetchone()):
                connection.execute(_text("settle").encode(), {"at": newest[0]})
        connection.execute("VACUUM (ANALYZE)")


def _text(script: str) -> str:
    return (files("totes.demo.simulator") / f"{script}.sql").read_text(encoding="utf-8")


def insert(connection: psycopg.Connection, table: str, row: Row) -> int:
    """Insert one row; the id its sequence gave it, which is the first column."""
    key = sql.Identifier(f"{table}_id")
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
        key,
    )
    given = connection.execute(statement, list(row.values())).fetchone()
    assert given is not None  # noqa: S101  RETURNING of one row
    return int(given[0])
