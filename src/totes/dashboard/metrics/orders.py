"""Sums of orders, for sales and purchases: the same questions with another kind."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import quarantined
from totes.dashboard.metrics.grain import Grain, default_grain
from totes.dashboard.metrics.periods import comparison
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading

Kind = Literal["sales", "purchases"]

_FACTS = {"sales": "fact_sales_order", "purchases": "fact_purchase_order"}

_WITH_IDS = {"counterparty", "staff", "design"}
"""Dimensions whose keys are numbers."""

_DIGITS = 100
"""More than a quotient of two sums has."""


class Sum(NamedTuple):
    """The sums of orders; `converted_units` are those of orders with a rate.

    `value` is None if there are orders and none has a rate; `exact_value` is not rounded.
    """

    value: Decimal | None
    exact_value: Decimal | None
    orders: int
    units: int
    converted_units: int
    unconverted: int

    @property
    def average_price(self) -> Decimal | None:
        """Price of one unit in the reporting currency; None without units of orders with a rate."""
        return _quotient(self.exact_value, self.converted_units, "0.0001")


def summed(reading: Reading, criteria: Filter, kind: Kind) -> Sum:
    """Return the sums of the orders of a filter, in the reporting currency."""
    return reading.cached(
        (kind, criteria), lambda: Sum(*reading.rows("orders_total", criteria, kind=kind)[0])
    )


def over_time(reading: Reading, criteria: Filter, kind: Kind, grain: Grain | None) -> pd.DataFrame:
    """Return sums by `grain`, or by the default one of the period, ordered by `start`."""
    frame = reading.run(
        "orders_over_time", criteria, kind=kind, grain=grain or default_grain(criteria)
    )
    frame["average_price"] = _average_prices(frame)
    return frame[["start", "value", "orders", "units", "average_price", "unconverted"]]


def by(
    reading: Reading, criteria: Filter, kind: Kind, dimension: str, limit: int | None
) -> pd.DataFrame:
    """Return sums by one dimension, the largest first; by currency also in the orders' own.

    Columns: key, name, value, orders, units, average_price, share, unconverted, own_value.
    """
    frame = reading.run("orders_by", criteria, kind=kind, dimension=dimension, row_limit=limit)
    frame["average_price"] = _average_prices(frame)
    frame["share"] = _column(
        _quotient(value, total, "0.000001")
        for value, total in zip(frame["exact_value"], frame["exact_total"], strict=True)
    )
    if dimension in _WITH_IDS:
        frame["key"] = frame["key"].astype("int64")
    columns = ["key", "name", "value", "orders", "units", "average_price", "share", "unconverted"]
    return frame[columns + (["own_value"] if dimension == "currency" else [])]


def rows(
    reading: Reading, criteria: Filter, kind: Kind, limit: int | None, **values: object
) -> pd.DataFrame:
    """Return the single orders: see order_rows.sql."""
    return reading.run("order_rows", criteria, kind=kind, row_limit=limit, **values)


def complete(*sums: Sum) -> bool:
    """Return whether all of the orders have a rate: other sums are not comparable."""
    return not any(each.unconverted for each in sums)


def total_of(
    reading: Reading, criteria: Filter, metric: str, kind: Kind
) -> tuple[Total, Sum, Sum | None]:
    """Return a total, and the sums of the period and of the previous one.

    They are compared only if all orders of both have a rate.
    """
    now = summed(reading, criteria, kind)
    compared = comparison(reading, criteria)
    before = summed(reading, compared.previous, kind) if compared else None
    total = Total(
        metric=metric,
        value=now.value,
        before=before.value if before and complete(now, before) else None,
        count=now.orders,
        unconverted=now.unconverted,
        quarantined=quarantined.for_total(reading, criteria, _FACTS[kind]),
        scale=compared.scale if compared else Fraction(1),
    )
    return total, now, before


def _average_prices(frame: pd.DataFrame) -> "pd.Series[Any]":
    return _column(
        _quotient(value, units, "0.0001")
        for value, units in zip(
            frame["exact_value"], map(int, frame["converted_units"]), strict=True
        )
    )


def _column(values: Iterable[Decimal | None]) -> "pd.Series[Any]":
    return pd.Series(list(values), dtype=object)


def _quotient(value: Decimal | None, divisor: Decimal | int | None, places: str) -> Decimal | None:
    """Return a quotient, rounded half away from zero; None if a part is None or zero divides."""
    if value is None or not divisor:
        return None
    with localcontext(prec=_DIGITS):
        return (value / divisor).quantize(Decimal(places), ROUND_HALF_UP)
