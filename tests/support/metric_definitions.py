"""Comparison of the metrics' declarations with the numbers of the cards."""

from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from totes.dashboard.explore import builder
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import (
    definitions,
    orders,
    overview,
    payments,
    periods,
    purchases,
    sales,
)
from totes.dashboard.reading import Reading


def compare_definitions(reading: Reading, criteria: Filter) -> None:
    """The SQL of each declaration returns the number of its card, also as a part of Explore's."""
    values = {
        name: definitions.value(reading, criteria, one) for name, one in definitions.METRICS.items()
    }
    assert values["customers"] == len(sales.by(reading, criteria, "counterparty"))
    cards = card_values(reading, criteria)
    if not overview.has_margin(criteria):
        del cards["margin"]
    assert cards == {name: values[name] for name in cards}
    price, exact = values["average_price"], sales.summary(reading, criteria).average_price
    assert (price is None) == (exact is None)
    assert price is None or price == pytest.approx(exact, rel=Decimal("1e-12"), abs=Decimal("1e-4"))
    assert _explore(reading, criteria, list(values), []) == {(): tuple(values.values())}


def card_values(reading: Reading, criteria: Filter) -> dict[str, Any]:
    """Return the number of each card by the name of its metric."""
    business = overview.totals(reading, criteria)
    sold, bought = sales.summary(reading, criteria), purchases.summary(reading, criteria)
    paid, uncovered = payments.summary(reading, criteria), payments.uncovered(reading, criteria)
    return {
        "revenue": sold.revenue.value,
        "sales_orders": sold.orders,
        "units": sold.units,
        **{
            f"{row['kind']}_customers": row["counterparties"]
            for _, row in sales.new_and_returning(reading, criteria).iterrows()
        },
        "purchases": bought.spend.value,
        "purchase_orders": bought.orders,
        "items": bought.items,
        "margin": business.margin and business.margin.value,
        "cash_in": paid.cash_in.value,
        "cash_out": paid.cash_out.value,
        "receivable": paid.receivable.value,
        "overdue_receivable": paid.overdue_receivable.value,
        "uncovered_receivable": uncovered.receivable.value,
        "payable": paid.payable.value,
        "overdue_payable": paid.overdue_payable.value,
        "uncovered_payable": uncovered.payable.value,
    }


def compare_explored(reading: Reading, criteria: Filter) -> None:
    """Statements of Explore return the numbers of the pages' tables, of one view and of two."""
    sold = _compare_by(reading, criteria, "sales", ["revenue", "sales_orders", "units"])
    bought = _compare_by(reading, criteria, "purchases", ["purchases", "purchase_orders", "items"])
    of_both = _explore(reading, criteria, ["items", "revenue"], ["month", "country"])
    assert {place: units for place, (units, _) in of_both.items() if units is not None} == {
        place: units for place, (_, _, units) in bought.items()
    }
    assert {place: value for place, (_, value) in of_both.items() if value is not None} == {
        place: value for place, (value, *_) in sold.items() if value is not None
    }


def _compare_by(reading: Reading, criteria: Filter, kind: orders.Kind, metrics: list[str]) -> Any:
    """Compare metrics by one dimension, and by day; return them by month and country."""
    dimensions = (sales if kind == "sales" else purchases).DIMENSIONS
    dimension = dimensions[criteria.days % len(dimensions)]
    table = orders.by(reading, criteria, kind, dimension, None)
    columns = ["value", "orders", "units"]
    by_name = _explore(reading, criteria, metrics, [dimension])
    assert by_name == _by(table, "name", columns)
    by_day = _explore(reading, criteria, metrics, ["day"])
    days = orders.over_time(reading, criteria, kind, "day")
    assert by_day == _by(days[days["orders"] > 0], "start", columns)
    return _explore(reading, criteria, metrics, ["month", "country"])


def _by(table: pd.DataFrame, name: str, columns: list[str]) -> dict[tuple[Any, ...], Any]:
    rows = zip(table[name], *(table[column] for column in columns), strict=True)
    return {(one,): tuple(values) for one, *values in rows}


def _explore(
    reading: Reading, criteria: Filter, metrics: list[str], dimensions: list[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return the values of metrics by the members of dimensions."""
    today = periods.days(reading, criteria.as_of).today
    rows = reading.query(builder.statement(metrics, dimensions), criteria, today=today)
    count = len(dimensions)
    found = {row[:count]: row[count:] for row in rows}
    assert len(found) == len(rows)
    return found
