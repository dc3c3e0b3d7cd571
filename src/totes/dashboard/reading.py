"""Reading the warehouse for a page: one snapshot, no writing, named queries.

A page's numbers agree, because all of them are read in one REPEATABLE READ transaction. The SQL
lies in `queries/`, one file for each question; values are always bound, never formatted in.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
from psycopg import Connection, sql

from totes.errors import UsageError
from totes.settings import Dsn
from totes.warehouse.connection import connect
from totes.warehouse.schema import READER, check_migrations

STATEMENT_SECONDS = 30
"""A question that takes longer is given up."""

NO_PARTS: Mapping[str, sql.Composable] = {}


class Reading:
    """The warehouse as it was at one moment, for the questions of one page."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        [(self.now,)] = connection.execute("SELECT clock_timestamp()").fetchall()

    now: datetime
    """By the warehouse's clock."""

    def run(
        self, name: str, /, parts: Mapping[str, sql.Composable] = NO_PARTS, **values: object
    ) -> pd.DataFrame:
        """The answer of `queries/NAME.sql`, with its columns' names; numeric stays Decimal.

        `parts` are relations that the query reads, composed from names alone; `values` are bound.
        Integers come as int64 where none is missing, everything else as Python's own objects.
        """
        query = sql.SQL(_query(name)).format(**parts) if parts else sql.SQL(_query(name))
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            rows = cursor.fetchall()
            names = [column.name for column in cursor.description or ()]
        return pd.DataFrame.from_records(rows, columns=names, coerce_float=False)


@contextmanager
def open_reading(dsn: Dsn) -> Iterator[Reading]:
    """A snapshot of the warehouse, as a role that may only read; WarehouseError where it is away.

    It waits for no loader: where the warehouse is just being rebuilt, that is said after seconds.
    """
    with connect(dsn) as connection:
        connection.prepare_threshold = None  # a plan for these values, each time
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET lock_timeout = '5s'")
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false)", [f"{STATEMENT_SECONDS}s"]
        )
        check_migrations(connection)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield Reading(connection)


def refuse_writers(dsn: Dsn) -> None:
    """UsageError where the role behind `dsn` may do more than read."""
    raise NotImplementedError


@cache
def _query(name: str) -> str:
    return (files("totes.dashboard") / "queries" / f"{name}.sql").read_text(encoding="utf-8")


ZERO = Decimal(0)
_ = (UsageError, READER)
