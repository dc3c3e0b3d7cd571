"""Sales: current sales orders of the period, by their creation date."""

from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import orders
from totes.dashboard.metrics.grain import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading

DIMENSIONS = ("country", "design", "counterparty", "staff", "department", "currency")

_COLUMNS = [
    *("sales_order_id", "created_date", "created_time", "counterparty_id", "staff_id"),
    *("counterparty", "country", "city"),
    *("design", "staff", "department", "units", "unit_price", "currency", "amount", "rate"),
    *("value", "agreed_delivery_date", "agreed_payment_date"),
]


@dataclass(frozen=True)
class SalesSummary:
    """The totals; `…_before` are those of the previous period, None if there is no data for it."""

    revenue: Total
    orders: int
    orders_before: int | None
    units: int
    units_before: int | None
    average_price: Decimal | None
    average_price_before: Decimal | None


def total(reading: Reading, criteria: Filter) -> Total:
    """Return the revenue: the sum of units times unit price."""
    return orders.total_of(reading, criteria, "revenue", "sales")[0]


def summary(reading: Reading, criteria: Filter) -> SalesSummary:
    """Return the totals in the reporting currency, each with that of the previous period."""
    revenue, now, before = orders.total_of(reading, criteria, "revenue", "sales")
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


def over_time(reading: Reading, criteria: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Return start, value, orders, units, average_price, unconverted by day, week, month or year.

    Periods without orders are included; their average price is None.
    """
    return orders.over_time(reading, criteria, "sales", grain)


def by(
    reading: Reading, criteria: Filter, dimension: str, limit: int | None = None
) -> pd.DataFrame:
    """Return sums by one of DIMENSIONS, the largest first.

    Columns: key, name, value, orders, units, average_price, share (of the total, not only of the
    rows within the limit), unconverted; by currency also own_value, in the orders' currency.
    """
    return orders.by(reading, criteria, "sales", dimension, limit)


def top_designs(reading: Reading, criteria: Filter, each: int = 3) -> pd.DataFrame:
    """Return the designs with the highest revenue in each country.

    Columns: country, place, design_id, design, value, orders, units, unconverted.
    """
    return reading.run("top_designs", criteria, each=each)


def new_and_returning(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return sums for customers with their first order in the period, and for other customers.

    Columns: kind (new, returning), counterparties, orders, value, unconverted. The first order is
    that of all current orders, regardless of the filter.
    """
    return reading.run("new_and_returning", criteria)


def rows(reading: Reading, criteria: Filter, limit: int | None = None) -> pd.DataFrame:
    """Return the single orders, the newest first; `rate` and `value` are None without a rate."""
    frame = orders.rows(reading, criteria, "sales", limit)
    return frame.rename(columns={"order_id": "sales_order_id"})[_COLUMNS]
