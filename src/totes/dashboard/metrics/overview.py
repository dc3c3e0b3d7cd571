"""The totals of the overview."""

from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import payments, purchases, sales
from totes.dashboard.metrics.grain import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading


@dataclass(frozen=True)
class Overview:
    """`margin` is revenue less purchases; `receivable` and `payable` are all open payments.

    The overdue ones are a part of these.

    `margin` is None if the filter selects sales and purchases that are not comparable.
    """

    revenue: Total
    purchases: Total
    margin: Total | None
    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total
    overdue_receivable: Total
    overdue_payable: Total


def has_margin(criteria: Filter) -> bool:
    """Return whether sales and purchases of a filter are comparable.

    Goods sold to a country or customer are not bought from suppliers there, nor are goods sold by a
    department or member of staff bought by them.
    """
    return not (
        criteria.countries or criteria.departments or criteria.counterparties or criteria.staff
    )


def totals(reading: Reading, criteria: Filter) -> Overview:
    """Return the totals in the reporting currency, each with that of the previous period."""
    revenue = sales.total(reading, criteria)
    spend = purchases.total(reading, criteria)
    paid = payments.summary(reading, criteria)
    return Overview(
        revenue=revenue,
        purchases=spend,
        margin=_margin(revenue, spend) if has_margin(criteria) else None,
        cash_in=paid.cash_in,
        cash_out=paid.cash_out,
        receivable=paid.receivable,
        payable=paid.payable,
        overdue_receivable=paid.overdue_receivable,
        overdue_payable=paid.overdue_payable,
    )


def over_time(reading: Reading, criteria: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Return start, revenue, purchases, margin, cash_in, cash_out, unconverted by period.

    `unconverted` counts the orders and payments that the amounts exclude. `margin` is missing if
    sales and purchases are not comparable.
    """
    sold = sales.over_time(reading, criteria, grain)
    bought = purchases.over_time(reading, criteria, grain)
    paid = payments.over_time(reading, criteria, grain)
    frame = pd.DataFrame(
        {
            "start": sold["start"],
            "revenue": sold["value"],
            "purchases": bought["value"],
            "margin": [_less(*both) for both in zip(sold["value"], bought["value"], strict=True)],
            "cash_in": paid["cash_in"],
            "cash_out": paid["cash_out"],
            "unconverted": sold["unconverted"] + bought["unconverted"] + paid["unconverted"],
        }
    )
    return frame if has_margin(criteria) else frame.drop(columns="margin")


def _margin(revenue: Total, spend: Total) -> Total:
    return Total(
        "margin",
        _less(revenue.value, spend.value),
        _less(revenue.before, spend.before),
        revenue.count + spend.count,
        revenue.unconverted + spend.unconverted,
        revenue.quarantined - spend.quarantined,
        revenue.scale,
    )


def _less(revenue: Decimal | None, spend: Decimal | None) -> Decimal | None:
    """Return the difference; None if one of the two is unknown."""
    return None if revenue is None or spend is None else revenue - spend
