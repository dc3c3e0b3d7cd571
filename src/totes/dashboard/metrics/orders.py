"""Sums over orders, sales and purchases alike."""

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import pandas as pd
from psycopg import sql

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import lines, waits
from totes.dashboard.metrics.choosing import compared
from totes.dashboard.metrics.lines import Grain, fitting_grain
from totes.dashboard.metrics.named import names
from totes.dashboard.metrics.total import Total, Waiting
from totes.dashboard.reading import Reading, part


class Sum(NamedTuple):
    """Of all orders that a filter chooses. `converted_units` are those of orders with a rate.

    `value` is None where there are orders and none has a rate.
    """

    value: Decimal | None
    orders: int
    units: int
    converted_units: int
    unconverted: int

    @property
    def average_price(self) -> Decimal | None:
        """Of one unit, in the reporting currency; None where nothing was sold for a known price."""
        if not self.converted_units or self.value is None:
            return None
        return (self.value / self.converted_units).quantize(Decimal("0.0001"))


def summed(reading: Reading, chosen: Filter, converted: sql.Composable) -> Sum:
    """Sums over the chosen orders; amounts in the reporting currency."""
    [row] = reading.rows("orders_total", {"converted": converted}, **lines.bound(reading, chosen))
    return Sum(*row)


def over_time(
    reading: Reading, chosen: Filter, converted: sql.Composable, grain: Grain | None
) -> pd.DataFrame:
    """Sums by `grain`, or by the one that fits the period: one row for each, ordered by `start`."""
    return reading.run(
        "orders_over_time",
        {"converted": converted},
        grain=grain or fitting_grain(chosen),
        **lines.bound(reading, chosen),
    )


def by(  # noqa: PLR0913  what is summed, by what, and how much of it
    reading: Reading,
    chosen: Filter,
    converted: sql.Composable,
    *,
    members: str,
    key: str,
    limit: int | None,
) -> pd.DataFrame:
    """By one dimension; only by currency are there sums in the orders' own."""
    parts = {
        "converted": converted,
        "members": part(f"members_of_{members}", **names()),
        "id": sql.Identifier(f"{key}_id"),
        "own_value": sql.SQL("sum(line.value)") if key == "currency" else sql.SQL("NULL::numeric"),
    }
    found = reading.run("orders_by", parts, limit=limit, **lines.bound(reading, chosen))
    return found if key == "currency" else found.drop(columns="own_value")


def complete(*sums: Sum) -> bool:
    """Whether all of the orders had a rate: sums that lack some don't compare."""
    return not any(each.unconverted for each in sums)


def total(name: str, now: Sum, before: Sum | None, waiting: Waiting) -> Total:
    """The figure for a card, compared with `before` only if every order of both has a rate."""
    return Total(
        name=name,
        value=now.value,
        before=before.value if before and complete(now, before) else None,
        count=now.orders,
        unconverted=now.unconverted,
        waiting=waiting,
    )


def total_of(
    reading: Reading,
    chosen: Filter,
    name: str,
    lines_of: Callable[[Filter], sql.Composable],
    fact: str,
) -> tuple[Total, Sum, Sum | None]:
    """A total with its sums, of the period and of the equal one before."""
    now = summed(reading, chosen, lines_of(chosen))
    before = None
    if earlier := compared(reading, chosen):
        before = summed(reading, earlier, lines_of(earlier))
    return total(name, now, before, waits.waiting(reading, chosen, fact)), now, before
