"""The business at a glance."""

from dataclasses import dataclass

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import payments, purchases, sales
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading


@dataclass(frozen=True)
class Overview:
    """`margin` is revenue less purchases; `receivable` and `payable` are all that is open."""

    revenue: Total
    purchases: Total
    margin: Total
    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total


def totals(reading: Reading, chosen: Filter) -> Overview:
    revenue = sales.total(reading, chosen)
    spend = purchases.total(reading, chosen)
    paid = payments.summary(reading, chosen)
    return Overview(
        revenue=revenue,
        purchases=spend,
        margin=_margin(revenue, spend),
        cash_in=paid.cash_in,
        cash_out=paid.cash_out,
        receivable=paid.receivable,
        payable=paid.payable,
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """By day, week, month or year: start, revenue, purchases, margin, cash_in, cash_out."""
    sold = sales.over_time(reading, chosen, grain)
    bought = purchases.over_time(reading, chosen, grain)
    paid = payments.over_time(reading, chosen, grain)
    return pd.DataFrame(
        {
            "start": sold["start"],
            "revenue": sold["value"],
            "purchases": bought["value"],
            "margin": sold["value"] - bought["value"],
            "cash_in": paid["cash_in"],
            "cash_out": paid["cash_out"],
        }
    )


def _margin(revenue: Total, spend: Total) -> Total:
    before = None
    if revenue.before is not None and spend.before is not None:
        before = revenue.before - spend.before
    return Total(
        "Margin",
        revenue.value - spend.value,
        before,
        revenue.count + spend.count,
        revenue.unconverted + spend.unconverted,
        revenue.waiting + spend.waiting,
    )
