"""The daily totals in schema `totes`: sums over the facts' current rows, kept by the load.

What a batch changes in them is worked out from the keys it touches: their current rows as they
were before (taken away) and as they are after (added), whatever brought them there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, LiteralString

import duckdb
from psycopg import Connection, sql

from totes.progress import QUIET
from totes.star.contract import Star
from totes.warehouse.binary import copy_in
from totes.warehouse.statement import statement


@dataclass(frozen=True)
class Daily:
    """A table of totals: what it is grouped by and what is summed, as `lines_of_…` names it."""

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]

    @property
    def parts(self) -> Mapping[str, sql.Composable]:
        """What the statements are composed of."""
        names = [*self.keys, *self.sums]
        return {
            "daily": sql.Identifier("totes", self.name),
            "columns": _list("{}", names),
            "keys": _list("{}", self.keys),
            "sums": _list("sum({0}) AS {0}", self.sums),
            "signed": _list("sum(sign * {0}) AS {0}", self.sums),
            "same": _list("d.{0} = c.{0}", self.keys, " AND "),
            "added": _list("{0} = d.{0} + c.{0}", self.sums),
            "given": _list("c.{}", names),
            "count": sql.Identifier(self.sums[0]),
            "changes": _list("c.{} <> 0", self.sums, " OR "),
        }


def _list(
    pattern: LiteralString, names: Sequence[str], between: LiteralString = ", "
) -> sql.Composed:
    parts = (sql.SQL(pattern).format(sql.Identifier(name)) for name in names)
    return sql.SQL(between).join(parts)


_DAY = ("day", "currency_id")
_ORDERS = ("orders", "units", "value")
_OF_PAYMENTS = (*_DAY, "payment_type_id", "paid")


def _of_orders(name: str, *dimensions: str) -> tuple[Daily, ...]:
    """One table of all orders, and one by each of the dimensions."""
    each = (Daily(f"{name}_by_{d}", (*_DAY, f"{d}_id"), _ORDERS) for d in dimensions)
    return (Daily(name, _DAY, _ORDERS), *each)


DAILIES: Mapping[str, tuple[Daily, ...]] = MappingProxyType(
    {
        "fact_sales_order": _of_orders(
            "daily_sales", "counterparty", "staff", "location", "design"
        ),
        "fact_purchase_order": _of_orders("daily_purchases", "counterparty", "staff"),
        "fact_payment": (
            Daily("daily_payments", _OF_PAYMENTS, ("payments", "value")),
            Daily(
                "daily_payments_by_counterparty",
                (*_OF_PAYMENTS, "counterparty_id"),
                ("payments", "value"),
            ),
        ),
    }
)
"""The tables of totals of each fact."""

NAMES = tuple(daily.name for dailies in DAILIES.values() for daily in dailies)


def fill(
    connection: Connection[Any], star: Star, engine: duckdb.DuckDBPyConnection, rows: str | None
) -> None:
    """Make the totals of a fact that had no rows before.

    `rows` is the query of DuckDB's whose result the fact now holds, and all it holds; DuckDB then
    sums up, some times faster than the warehouse does where that isn't known.
    """
    connection.execute(_FEW_STATISTICS)
    for daily in DAILIES.get(star.name, ()):
        if rows is None or not _copy(connection, star, daily, engine, rows):
            connection.execute(statement("fill_daily", lines=_lines(star), **daily.parts))
        connection.execute(sql.SQL("ANALYZE {}").format(daily.parts["daily"]))
    connection.execute("SET LOCAL default_statistics_target TO DEFAULT")


_FEW_STATISTICS = "SET LOCAL default_statistics_target = 10"
"""The totals are small and even."""


def _copy(
    connection: Connection[Any],
    star: Star,
    daily: Daily,
    engine: duckdb.DuckDBPyConnection,
    rows: str,
) -> bool:
    """Sum up and copy; false where a sum has more digits than can be copied."""
    current = star.name.replace("fact_", "current_")
    engine.execute(f"create or replace temporary view {current} as {rows}")
    select = statement("select_daily", lines=_lines(star), **daily.parts).as_string()
    try:
        engine.execute(f"create or replace temporary table daily as {select}")
    except duckdb.OutOfRangeException:  # PostgreSQL has no such bounds
        return False
    biggest = engine.execute("select coalesce(max(abs(value)), 0) from daily").fetchone()
    if biggest is None or biggest[0] >= _TOO_MUCH:
        return False
    columns = {name: _TYPES.get(name, "INTEGER") for name in (*daily.keys, *daily.sums)}
    cast = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in columns.items())
    copy_in(
        connection,
        engine,
        table=daily.parts["daily"],
        columns=columns,
        rows=f"select {cast} from daily order by all",
        progress=QUIET,
    )
    return True


_TYPES = MappingProxyType(
    {
        "day": "DATE",
        "paid": "BOOLEAN",
        "orders": "BIGINT",
        "payments": "BIGINT",
        "units": "BIGINT",
        "value": "DECIMAL(18,2)",
    }
)
"""How the columns are copied; others are keys of dimensions."""

_TOO_MUCH = Decimal(10) ** 16


@contextmanager
def kept(connection: Connection[Any], star: Star, staged: sql.Identifier) -> Iterator[None]:
    """Bring the totals along with what happens inside to the keys that are staged."""
    if star.name not in DAILIES:
        yield
        return
    parts = {
        "touched": sql.Identifier(f"touched_{star.name}"),
        "changed": sql.Identifier(f"changed_{star.name}"),
        "key": sql.Identifier(star.key.name),
        "lines": _lines(star),
        "staged": staged,
    }
    connection.execute(statement("make_changed", **parts))
    connection.execute(statement("touch", **parts))
    connection.execute(statement("note_lines", sign=-1, **parts))
    yield
    connection.execute(statement("note_lines", sign=1, **parts))
    connection.execute(sql.SQL("ANALYZE {}").format(parts["changed"]))
    for daily in DAILIES[star.name]:
        connection.execute(statement("change_daily", **parts, **daily.parts))


def _lines(star: Star) -> sql.Composed:
    return statement(f"lines_of_{star.name}")
