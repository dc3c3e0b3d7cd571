"""A few questions that the demonstration asks the warehouse, and their answers."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from totes.config.settings import Dsn
from totes.warehouse.connection import connect


@dataclass(frozen=True)
class Country:
    """This month's sales to one country."""

    country: str
    orders: int
    bags: int


@dataclass(frozen=True)
class Overdue:
    """Unpaid payments past their date, in one currency."""

    currency_code: str
    payments: int
    amount: Decimal


@dataclass(frozen=True)
class Version:
    """An order as it was from `valid_from` on; `last_updated` is what totesys says."""

    sales_order_id: int
    valid_from: datetime
    last_updated: datetime
    sold_by: str
    design: str
    delivery: date
    city: str


@dataclass(frozen=True)
class Answers:
    """`order` is one that was changed in silence, version by version; empty before there is one.

    All that totesys had committed at `checked_at` is in them; the newest of it was seen at
    `data_to`.
    """

    data_to: datetime | None = None
    checked_at: datetime | None = None
    sales: tuple[Country, ...] = ()
    overdue: tuple[Overdue, ...] = ()
    order: tuple[Version, ...] = ()


def ask(warehouse: Dsn) -> Answers:
    """Put the questions to the warehouse."""
    with connect(warehouse) as connection:
        freshness = "SELECT data_to, checked_at FROM totes.freshness"
        [(data_to, checked_at)] = connection.execute(freshness).fetchall()
        return Answers(
            data_to=data_to,
            checked_at=checked_at,
            sales=_rows(connection, Country, "sales_by_country"),
            overdue=_rows(connection, Overdue, "overdue_payments"),
            order=_rows(connection, Version, "silent_change"),
        )


def _rows[T](connection: Connection[Any], kind: type[T], question: str) -> tuple[T, ...]:
    query = (files(__package__) / f"{question}.sql").read_bytes()
    with connection.cursor(row_factory=class_row(kind)) as cursor:
        return tuple(cursor.execute(query))
