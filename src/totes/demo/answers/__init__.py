"""The queries that the demo runs in the warehouse, and their results."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from totes.config.dsn import Dsn
from totes.sql_text import read_sql
from totes.warehouse.connection import connect


@dataclass(frozen=True)
class Country:
    """The sales of this month to one country."""

    country: str
    orders: int
    bags: int


@dataclass(frozen=True)
class Overdue:
    """The overdue payments in one currency."""

    currency_code: str
    payments: int
    amount: Decimal


@dataclass(frozen=True)
class Version:
    """A version of an order, valid from `valid_from`; `last_updated` is the column in totesys."""

    sales_order_id: int
    valid_from: datetime
    last_updated: datetime
    sold_by: str
    design: str
    delivery: date
    city: str


@dataclass(frozen=True)
class Answers:
    """The results of all queries.

    They include every change that was committed at `checked_at`; the newest was captured at
    `data_to`. `order` has the versions of an order that was changed silently; empty without one.
    `brief` has the three versions of a sale that was changed and changed back at once; only a
    capture from the log sees such a change.
    """

    data_to: datetime | None = None
    checked_at: datetime | None = None
    sales: tuple[Country, ...] = ()
    overdue: tuple[Overdue, ...] = ()
    order: tuple[Version, ...] = ()
    brief: tuple[Version, ...] = ()


def query_answers(warehouse: Dsn) -> Answers:
    """Run all queries in the warehouse."""
    with connect(warehouse) as connection:
        freshness = "SELECT data_to, checked_at FROM totes.freshness"
        [(data_to, checked_at)] = connection.execute(freshness).fetchall()
        return Answers(
            data_to=data_to,
            checked_at=checked_at,
            sales=_rows(connection, Country, "sales_by_country"),
            overdue=_rows(connection, Overdue, "overdue_payments"),
            order=_rows(connection, Version, "silent_change"),
            brief=_rows(connection, Version, "brief_change"),
        )


def _rows[T](connection: Connection[Any], row_class: type[T], name: str) -> tuple[T, ...]:
    query = read_sql(__package__, f"{name}.sql")
    with connection.cursor(row_factory=class_row(row_class)) as cursor:
        return tuple(cursor.execute(query))
