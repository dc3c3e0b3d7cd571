"""The business at a glance."""

from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import payments, purchases, sales
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.total import Total
from totes.dashboard.reading import Reading


@dataclass(frozen=True)
class Overview:
    """`margin` is revenue less purchases; `receivable` and `payable` are all that is open.

    There is no margin where a filter means one thing of sales and another of purchases.
    """

    revenue: Total
    purchases: Total
    margin: Total | None
    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total


def has_margin(chosen: Filter) -> bool:
    """Whether what is sold is made of what is bought, as far as the filter narrows both.

    What goes to a country or a customer doesn't come from the suppliers there, and a department
    that sells is not the one that buys.
    """
    return not (chosen.countries or chosen.departments or chosen.counterparties)


def totals(reading: Reading, chosen: Filter) -> Overview:
    """The page's figures, in the reporting currency, each with that of the previous period."""
    revenue = sales.total(reading, chosen)
    spend = purchases.total(reading, chosen)
    paid = payments.summary(reading, chosen)
    return Overview(
        revenue=revenue,
        purchases=spend,
        margin=_margin(revenue, spend) if has_margin(chosen) else None,
        cash_in=paid.cash_in,
        cash_out=paid.cash_out,
        receivable=paid.receivable,
        payable=paid.payable,
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """By day, month or year: start, revenue, purchases, margin, cash_in, cash_out, unconverted.

    The last are all the orders and payments that are in none of the others. The margin is there
    where there is one.
    """
    sold = sales.over_time(reading, chosen, grain)
    bought = purchases.over_time(reading, chosen, grain)
    paid = payments.over_time(reading, chosen, grain)
    found = pd.DataFrame(
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
    return found if has_margin(chosen) else found.drop(columns="margin")


def _margin(revenue: Total, spend: Total) -> Total:
    return Total(
        "Margin",
        _less(revenue.value, spend.value),
        _less(revenue.before, spend.before),
        revenue.count + spend.count,
        revenue.unconverted + spend.unconverted,
        revenue.waiting - spend.waiting,
    )


def _less(revenue: Decimal | None, spend: Decimal | None) -> Decimal | None:
    """Where one isn't known, neither is what is left."""
    return None if revenue is None or spend is None else revenue - spend
