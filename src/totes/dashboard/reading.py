"""Reading the warehouse for a page: one snapshot, no writing, named queries.

A page's numbers agree, because all of them are read in one REPEATABLE READ transaction. The SQL
lies in `queries/`, one file for each question; values are always bound, never formatted in.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime  # noqa: TC003  part of the interface
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import pandas as pd
import psycopg
from psycopg import Connection, sql

from totes.config.settings import Dsn
from totes.errors import UsageError, WarehouseError
from totes.postgres.sqlstate import meaning, message
from totes.warehouse.connection import connect
from totes.warehouse.schema import READER, check_migrations

type Parts = Mapping[str, sql.Composable]

NO_PARTS: Parts = MappingProxyType({})


class Reading:
    """The warehouse as it was at one moment, for the questions of one page."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        [(now,)] = connection.execute("SELECT clock_timestamp()").fetchall()
        self.now: datetime = now
        """By the warehouse's clock."""
        self._known: dict[object, Any] = {}

    def run(self, name: str, /, parts: Parts = NO_PARTS, **values: object) -> pd.DataFrame:
        """The answer of `queries/NAME.sql`, with its columns' names; numeric stays Decimal.

        `parts` are what the query is composed of, names and SQL of other files; `values` are
        bound.
        """
        cursor = self._connection.execute(part(name, **parts), values)
        names = [column.name for column in cursor.description or ()]
        return _frame(cursor.fetchall(), names)

    def rows(self, name: str, /, parts: Parts = NO_PARTS, **values: object) -> list[Any]:
        """The same as plain tuples."""
        return self._connection.execute(part(name, **parts), values).fetchall()

    def once[T](self, key: object, ask: Callable[[], T]) -> T:
        """What `ask` answers, asked once: other questions of the page need it again."""
        if key not in self._known:
            self._known[key] = ask()
        known: T = self._known[key]
        return known

    def row(self, name: str, /, parts: Parts = NO_PARTS, **values: object) -> dict[str, Any]:
        """The only row of an answer, by its columns' names."""
        cursor = self._connection.execute(part(name, **parts), values)
        [row] = cursor.fetchall()
        return {
            column.name: value for column, value in zip(cursor.description or (), row, strict=True)
        }


def _frame(rows: list[Any], names: list[str]) -> pd.DataFrame:
    """With whole numbers and texts as they are beside gaps, where pandas would put not-a-number."""
    frame = pd.DataFrame.from_records(rows, columns=names, coerce_float=False)
    for name, values in zip(names, zip(*rows, strict=True), strict=False):
        kinds = {type(value) for value in values}
        if kinds == {int, type(None)}:
            frame[name] = pd.array(values, dtype="Int64")
        elif kinds == {str, type(None)}:
            frame[name] = pd.Series(values, dtype=object)
    return frame


@contextmanager
def open_reading(dsn: Dsn) -> Iterator[Reading]:
    """A snapshot of the warehouse, as a role that may only read.

    It waits for no loader: where the warehouse is just being rebuilt, that is said after seconds.
    WarehouseError where it is away, and also where it has not what is asked for: nobody who looks
    at a page can mend that, and the page is to come back by itself.
    """
    with connect(dsn) as connection:
        connection.prepare_threshold = None  # a plan for these values, each time
        connection.execute(part("session"))
        try:
            check_migrations(connection)
            with connection.transaction():
                connection.execute(part("snapshot"))
                yield Reading(connection)
        except psycopg.Error as error:
            if meaning(error) is not None:
                raise
            raise WarehouseError(
                f"The warehouse {dsn} is not as it should be: {message(error)}."
            ) from error


def refuse_writers(dsn: Dsn) -> None:
    """UsageError where the role behind `dsn` may do more than read."""
    with connect(dsn) as connection:
        [(user, schema, may, for_all)] = connection.execute(part("may_write")).fetchall()
    if for_all:
        raise UsageError(
            f"The dashboard reads the warehouse as {user}, who may create tables in schema "
            f"{schema} as everybody may: run `REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC` there "
            "as the schema's owner."
        )
    if may is not None:
        raise UsageError(
            f"The dashboard reads the warehouse as {user}, who may {may}: set "
            f"TOTES_DASHBOARD_DSN to a login that only has the role {READER}."
        )


def part(name: str, /, **parts: sql.Composable) -> sql.Composed:
    """The SQL of `queries/NAME.sql`, composed of `parts`, which hold no values."""
    return sql.SQL(_query(name)).format(**parts)


@cache
def _query(name: str) -> str:
    return (files("totes.dashboard") / "queries" / f"{name}.sql").read_text(encoding="utf-8")
