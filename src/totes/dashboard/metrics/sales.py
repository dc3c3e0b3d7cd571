"""Sales: current sales orders of the period, by the day they were created."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import lines, orders
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.named import names
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading

FACT = "fact_sales_order"

_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "country": "location",
        "design": "design",
        "counterparty": "counterparty",
        "staff": "staff",
        "department": "staff",
        "currency": "currency",
    }
)
"""Each dimension, and the key that leads there."""

DIMENSIONS = tuple(_KEYS)


@dataclass(frozen=True)
class SalesSummary:
    """`…_before` is of the equal period before, None where there is no data of it."""

    revenue: Total
    orders: int
    orders_before: int | None
    units: int
    units_before: int | None
    average_price: Decimal | None
    average_price_before: Decimal | None


def total(reading: Reading, chosen: Filter) -> Total:
    """Revenue: units sold times unit price."""
    return orders.total_of(reading, chosen, "Revenue", lines.sales, FACT)[0]


def summary(reading: Reading, chosen: Filter) -> SalesSummary:
    """Figures of sales, in the reporting currency, each with that of the previous period."""
    revenue, now, before = orders.total_of(reading, chosen, "Revenue", lines.sales, FACT)
    return SalesSummary(
        revenue=revenue,
        orders=now.orders,
        orders_before=before.orders if before else None,
        units=now.units,
        units_before=before.units if before else None,
        average_price=now.average_price,
        average_price_before=before.average_price
        if before and orders.complete(now, before)
        else None,
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """By day, month or year: start, value, orders, units, average_price, unconverted.

    Those without orders are there too, without an average price.
    """
    return orders.over_time(reading, chosen, lines.sales(chosen), grain)


def by(reading: Reading, chosen: Filter, dimension: str, limit: int | None = None) -> pd.DataFrame:
    """By one of DIMENSIONS, the biggest first.

    Columns: key, name, value, orders, units, average_price, share (of all, also of those beyond
    the limit), unconverted; by currency also own_value, in the orders' own.
    """
    key = _KEYS[dimension]
    converted = lines.sales(chosen, *({key} - {"currency"}))
    return orders.by(reading, chosen, converted, members=dimension, key=key, limit=limit)


def top_designs(reading: Reading, chosen: Filter, each: int = 3) -> pd.DataFrame:
    """The best designs of each country, by place.

    Columns: country, place, design_id, design, value, orders, units, unconverted.
    """
    converted = lines.sales(chosen, "location", "design")
    return reading.run(
        "top_designs",
        {"converted": converted, **names()},
        each=each,
        **lines.bound(reading, chosen),
    )


def new_and_returning(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Customers whose first order ever lies in the period, and the others.

    Columns: kind (new, returning), counterparties, orders, value, unconverted. A customer's first
    order is the first of all that stand, whatever else the filter narrows.
    """
    parts = {
        "converted": lines.sales(chosen, "counterparty"),
        "ever": lines.all_sales(chosen, "counterparty"),
    }
    return reading.run("new_and_returning", parts, **lines.bound(reading, chosen))


def rows(reading: Reading, chosen: Filter, limit: int | None = None) -> pd.DataFrame:
    """The orders themselves, the newest first; `rate` and `value` are None without a rate."""
    parts = {**lines.facts(chosen), **lines.of_rows("sale")}
    return reading.run("sales_rows", parts, limit=limit, **lines.bound(reading, chosen))
