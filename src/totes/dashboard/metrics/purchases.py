"""Purchases: current purchase orders of the period, by the day they were created."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType

import pandas as pd
from psycopg import sql

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines, orders
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading, part

FACT = "fact_purchase_order"

_KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "counterparty": ("counterparty", "counterparty"),
        "staff": ("staff", "staff"),
        "department": ("staff", "department"),
        "country": ("counterparty", "home_country"),
        "currency": ("currency", "currency"),
    }
)
"""Each dimension, the key that leads there, and its members."""

DIMENSIONS = ("counterparty", "item", "staff", "department", "country", "currency")


@dataclass(frozen=True)
class PurchasesSummary:
    """`…_before` is of the equal period before, None where there is no data of it."""

    spend: Total
    orders: int
    orders_before: int | None
    quantity: int
    quantity_before: int | None


def total(reading: Reading, chosen: Filter) -> Total:
    """Spend: item quantity times item unit price."""
    return orders.total_of(reading, chosen, "Purchases", lines.purchases, FACT)[0]


def summary(reading: Reading, chosen: Filter) -> PurchasesSummary:
    """Figures of purchases, in the reporting currency, each with that of the previous period."""
    spend, now, before = orders.total_of(reading, chosen, "Purchases", lines.purchases, FACT)
    return PurchasesSummary(
        spend=spend,
        orders=now.orders,
        orders_before=before.orders if before else None,
        quantity=now.units,
        quantity_before=before.units if before else None,
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """By day, month or year: start, value, orders, quantity, average_price, unconverted."""
    found = orders.over_time(reading, chosen, lines.purchases(chosen), grain)
    return found.rename(columns={"units": "quantity"})


def by(reading: Reading, chosen: Filter, dimension: str, limit: int | None = None) -> pd.DataFrame:
    """By one of DIMENSIONS, the biggest first.

    Columns: key, name, value, orders, quantity, average_price, share, unconverted; by currency also
    own_value, in the orders' own. The country is the supplier's.
    """
    if dimension == "item":
        found = reading.run(
            "purchases_by_item",
            {"converted": lines.purchases(chosen, "item")},
            limit=limit,
            **lines.bound(reading, chosen),
        )
    else:
        key, members = _KEYS[dimension]
        converted = lines.purchases(chosen, *({key} - {"currency"}))
        found = orders.by(reading, chosen, converted, members=members, key=key, limit=limit)
    return found.rename(columns={"units": "quantity"})


def rows(reading: Reading, chosen: Filter, limit: int | None = None) -> pd.DataFrame:
    """The orders themselves, the newest first; `rate` and `value` are None without a rate."""
    return _rows(reading, chosen, limit)


def deliveries(reading: Reading, chosen: Filter, limit: int | None = None) -> pd.DataFrame:
    """Orders of any day whose delivery is agreed for today or later, the soonest first.

    Columns as of `rows`, and the `days` until then.
    """
    today = choosing.days(reading, chosen.as_of).today
    everything = replace(chosen, since=lines.EVER[0], until=lines.EVER[1], period="")
    found = _rows(
        reading,
        everything,
        limit,
        only=part("part_delivered_from"),
        order=_SOONEST,
        delivery_from=today,
    )
    found["days"] = [(day - today).days for day in found["agreed_delivery_date"]]
    return found


_ALL = sql.SQL("true")
_NEWEST = sql.SQL(
    "purchase.created_date DESC, purchase.created_time DESC, purchase.purchase_order_id DESC"
)
_SOONEST = sql.SQL("purchase.agreed_delivery_date, {newest}").format(newest=_NEWEST)


def _rows(
    reading: Reading,
    chosen: Filter,
    limit: int | None,
    *,
    only: sql.Composable = _ALL,
    order: sql.Composable = _NEWEST,
    **values: date,
) -> pd.DataFrame:
    return reading.run(
        "purchases_rows",
        {**lines.facts(chosen), **lines.of_rows("purchase"), "only": only, "order": order},
        limit=limit,
        **values,
        **lines.bound(reading, chosen),
    )
