"""Purchases: current purchase orders of the period, by their creation date."""

from dataclasses import dataclass
from datetime import date

import pandas as pd

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import orders, periods
from totes.dashboard.metrics.grain import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading

DIMENSIONS = ("counterparty", "item", "staff", "department", "country", "currency")

_COLUMNS = [
    *("purchase_order_id", "created_date", "created_time", "counterparty_id", "staff_id"),
    *("counterparty", "country"),
    *("delivery_country", "city", "item", "staff", "department", "items", "unit_price"),
    *("currency", "amount", "rate", "value", "agreed_delivery_date", "agreed_payment_date"),
]


@dataclass(frozen=True)
class PurchasesSummary:
    """The totals; `…_before` are those of the previous period, None if there is no data for it."""

    spend: Total
    orders: int
    orders_before: int | None
    items: int
    items_before: int | None


def total(reading: Reading, criteria: Filter) -> Total:
    """Return the spend: the sum of items times unit price."""
    return orders.total_of(reading, criteria, "purchases", "purchases")[0]


def summary(reading: Reading, criteria: Filter) -> PurchasesSummary:
    """Return the totals in the reporting currency, each with that of the previous period."""
    spend, now, before = orders.total_of(reading, criteria, "purchases", "purchases")
    return PurchasesSummary(
        spend=spend,
        orders=now.orders,
        orders_before=before.orders if before else None,
        items=now.units,
        items_before=before.units if before else None,
    )


def over_time(reading: Reading, criteria: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Return start, value, orders, items, average_price, unconverted by `grain`."""
    frame = orders.over_time(reading, criteria, "purchases", grain)
    return frame.rename(columns={"units": "items"})


def by(
    reading: Reading, criteria: Filter, dimension: str, limit: int | None = None
) -> pd.DataFrame:
    """Return sums by one of DIMENSIONS, the largest first.

    Columns: key, name, value, orders, items, average_price, share, unconverted; by currency also
    own_value, in the orders' currency. The country is the supplier's.
    """
    frame = orders.by(reading, criteria, "purchases", dimension, limit)
    return frame.rename(columns={"units": "items"})


def rows(reading: Reading, criteria: Filter, limit: int | None = None) -> pd.DataFrame:
    """Return the single orders, the newest first; `rate` and `value` are None without a rate."""
    return _rows(reading, criteria, limit)


def deliveries(reading: Reading, criteria: Filter, limit: int | None = None) -> pd.DataFrame:
    """Return orders of all days whose delivery is due today or later, the earliest first.

    Columns are those of `rows`, and the `days` until delivery.
    """
    today = periods.days(reading, criteria.as_of).today
    frame = _rows(reading, criteria.within(*ALL_DAYS), limit, delivery_from=today)
    frame["days"] = [(day - today).days for day in frame["agreed_delivery_date"]]
    return frame


def _rows(
    reading: Reading, criteria: Filter, limit: int | None, delivery_from: date | None = None
) -> pd.DataFrame:
    frame = orders.rows(reading, criteria, "purchases", limit, delivery_from=delivery_from)
    names = {"order_id": "purchase_order_id", "units": "items"}
    return frame.rename(columns=names)[_COLUMNS]
