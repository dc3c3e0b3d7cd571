"""The daily totals in schema `totes`: sums over the facts' current rows, kept by the load.

What a batch changes in them is worked out from the keys it touches: their current rows as they
were before (taken away) and as they are after (added), whatever brought them there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg import Connection, sql

from totes.star.contract import Star
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


def _list(pattern: str, names: tuple[str, ...] | list[str], between: str = ", ") -> sql.Composed:
    return sql.SQL(between).join(
        sql.SQL(pattern).format(sql.Identifier(name))  # type: ignore[arg-type]  literals above
        for name in names
    )


_DAY = ("day", "currency_id")
_ORDERS = ("orders", "units", "value")


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
            Daily(
                "daily_payments",
                (*_DAY, "payment_type_id", "paid", "counterparty_id"),
                ("payments", "value"),
            ),
        ),
    }
)
"""The tables of totals of each fact."""

NAMES = tuple(daily.name for dailies in DAILIES.values() for daily in dailies)


def fill(connection: Connection[Any], star: Star) -> None:
    """Make the totals of a fact that had no rows before."""
    for daily in DAILIES.get(star.name, ()):
        connection.execute(statement("fill_daily", lines=_lines(star), **daily.parts))
        connection.execute(sql.SQL("ANALYZE {}").format(daily.parts["daily"]))


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
    for daily in DAILIES[star.name]:
        connection.execute(statement("change_daily", **parts, **daily.parts))


def _lines(star: Star) -> sql.Composed:
    return statement(f"lines_of_{star.name}")
