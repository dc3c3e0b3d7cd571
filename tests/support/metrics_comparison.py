"""Comparison of every metric of the dashboard with the oracle's."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import astuple, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, product
from typing import Any, get_args

import pandas as pd
import pytest
from depth import sample
from installation import Installation
from metric_definitions import compare_definitions, compare_explored
from metrics_oracle import (
    Facts,
    Line,
    MetricsOracle,
    Sum,
    current_facts,
    facts_at,
    last_facts,
    less,
    rounded,
    start_of,
)
from random_business import DAY, NOW, RandomBusiness
from replicas import open_reading

from conftest import EmptyWarehouse
from totes.dashboard import metrics
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import (
    Grain,
    Quarantined,
    Total,
    debts,
    overview,
    payments,
    purchases,
    sales,
)
from totes.dashboard.reading import Reading


def compare_history(
    business: RandomBusiness, moments: list[datetime], warehouse: EmptyWarehouse
) -> None:
    """Compare open payments over time."""
    installation, chance = business.installation, business.chance
    days = backdate_captures(installation, moments)
    with open_reading(warehouse.reader) as reading:
        for began in sample(1, days, "history"):
            choices = metrics.choices(reading)
            compare_with_then(reading, business.filter(choices), began, installation)
            departments = tuple(chance.sample(choices.departments, 4))
            by_department = Filter(began, NOW, departments=departments)
            compare_with_then(reading, by_department, began, installation)
        compare_debts(reading, replace(by_department, since=days[0]), days, installation)
        criteria = Filter(days[0] - 2 * DAY, NOW)
        assert (
            payments.summary(reading, criteria).receivable.before is None
        )  # before the first capture
        assert debts.over_time(reading, criteria)["at"][0].date() == days[0] - DAY
        anything = replace(business.filter(metrics.choices(reading)), since=days[1], until=NOW)
        compare_debts(reading, anything, days, installation)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(debts, "MAX_TREND_DAYS", 5)
            assert debts.over_time(reading, criteria).empty  # the period is too long
        then = datetime.combine(days[2], time(), UTC)
        compare_debts(reading, replace(criteria, as_of=then), days, installation)


def backdate_captures(installation: Installation, moments: list[datetime]) -> list[date]:
    """Move the captures to days that are three days apart; return the days after them."""
    days = []
    for number, moment in enumerate(moments):
        instead = datetime.combine(NOW - (3 * (len(moments) - number)) * DAY, time(15), UTC)
        days.append(instead.date() + DAY)
        for column in (
            *("fact_payment.valid_from", "fact_payment.valid_to", "fact_sales_order.valid_from"),
            *("fact_sales_order.valid_to", "totes.batches.captured_at"),
        ):
            table, _, name = column.rpartition(".")
            change = f"UPDATE {table} SET {name} = '{instead}' WHERE {name} = '{moment}'"
            installation.change_warehouse(change)
    return days


def open_at(
    installation: Installation, moment: datetime, criteria: Filter
) -> tuple[MetricsOracle, list[Line]]:
    """Return the payments open at a moment.

    The department of a payment is that of its current order; if the payment's version has ended, it
    is that of the order's last version, even if the order was deleted.
    """
    then = facts_at(installation.warehouse, moment)["fact_payment"]
    found: list[Line] = []
    for orders, ended in ((current_facts, False), (last_facts, True)):
        rows = [row for row in then if (row["valid_to"] is not None) is ended]
        facts = {**orders(installation.warehouse), "fact_payment": rows}
        oracle = MetricsOracle(installation.warehouse, facts, moment)
        found += oracle.filtered(oracle.payments, criteria, any_day=True)
    return oracle, [line for line in found if not line.row["paid"]]


def compare_with_then(
    reading: Reading, criteria: Filter, began: date, installation: Installation
) -> None:
    """The amounts at the beginning of the period are those of the rows valid then."""
    midnight = datetime.combine(began, time(), UTC)
    criteria = replace(criteria, since=began, until=NOW)
    print(criteria)  # noqa: T201  where a comparison fails
    oracle, then = open_at(installation, midnight, criteria)
    found = payments.summary(reading, criteria)
    for now, direction, overdue in (
        (found.receivable, "in", False),
        (found.payable, "out", False),
        (found.overdue_receivable, "in", True),
        (found.overdue_payable, "out", True),
    ):
        expected = oracle.sum(
            [
                line
                for line in then
                if line.direction == direction and (line.day < began or not overdue)
            ],
            criteria,
        )
        incomplete = now.unconverted or expected.unconverted
        assert now.before == (None if incomplete else expected.value), now.metric


def compare_debts(
    reading: Reading, criteria: Filter, days: list[date], installation: Installation
) -> None:
    """The amounts at each moment are those of the rows valid then; the last are current."""
    print(criteria)  # noqa: T201  where a comparison fails
    found = debts.over_time(reading, criteria)
    last, now = found.iloc[-1], payments.summary(reading, criteria)
    assert (last["receivable"], last["payable"]) == (now.receivable.value, now.payable.value)
    assert last["unconverted"] == now.receivable.unconverted + now.payable.unconverted
    before: Mapping[Hashable, Any] = {}
    for row in found.to_dict("records")[:-1]:
        if before and row["at"].date() not in days:  # nothing has happened
            assert row == {**before, "at": before["at"] + DAY}
        else:
            oracle, open_payments = open_at(installation, row["at"], criteria)
            theirs, ours = (
                oracle.sum([line for line in open_payments if line.direction == way], criteria)
                for way in ("in", "out")
            )
            assert (row["receivable"], row["payable"]) == (theirs.value, ours.value)
            assert row["unconverted"] == theirs.unconverted + ours.unconverted
        before = row


def without_rejected(facts: Facts, installation: Installation) -> set[tuple[Any, ...]]:
    """Return the rows without quarantined keys, whose history a release may change."""
    quarantined = set(installation.query("SELECT star_table, key FROM totes.quarantine"))
    return {
        (fact, *[value for name, value in row.items() if name != "valid_to"])
        for fact, rows in facts.items()
        for row in rows
        if (fact, str(list(row.values())[1])) not in quarantined
    }


def compare(reading: Reading, criteria: Filter, oracle: MetricsOracle) -> None:
    """Compare all metrics with the oracle."""
    print(criteria)  # noqa: T201  where a comparison fails
    compare_sales(reading, criteria, oracle)
    compare_purchases(reading, criteria, oracle)
    compare_payments(reading, criteria, oracle)
    compare_overview(reading, criteria)
    compare_waiting(reading, criteria, oracle)
    compare_definitions(reading, criteria)
    compare_explored(reading, criteria)


def compare_waiting(reading: Reading, criteria: Filter, oracle: MetricsOracle) -> None:
    """Compare the rows in quarantine of each total."""
    paid = payments.summary(reading, criteria)
    uncovered = payments.uncovered(reading, criteria)
    for found, name in (
        (sales.total(reading, criteria), "sales"),
        (purchases.total(reading, criteria), "purchases"),
        (paid.cash_in, "cash_in"),
        (paid.cash_out, "cash_out"),
        (paid.receivable, "open_in"),
        (paid.payable, "open_out"),
        (paid.overdue_receivable, "overdue_in"),
        (paid.overdue_payable, "overdue_out"),
        (uncovered.receivable, "uncovered_in"),
        (uncovered.payable, "uncovered_out"),
    ):
        assert astuple(found.quarantined) == oracle.quarantined(name, criteria), name


def compare_sales(reading: Reading, criteria: Filter, oracle: MetricsOracle) -> None:
    now = oracle.filtered(oracle.sales, criteria)
    expected = oracle.sum(now, criteria)
    summary = sales.summary(reading, criteria)
    assert total(summary.revenue) == (expected.value, expected.rows, expected.unconverted)
    assert (summary.orders, summary.units) == (expected.rows, expected.units)
    compare_with_before(reading, criteria, oracle, summary)
    for grain in get_args(Grain):
        found = sales.over_time(reading, criteria, grain)
        by_start = oracle.by(now, criteria, partial(_start, grain))
        assert sums(found, "start", "units") == {**zero_sums(found["start"]), **by_start}
    keys: Mapping[str, Callable[[Line], Hashable]] = {
        "country": lambda line: line.country,
        "design": lambda line: line.row["design_id"],
        "counterparty": lambda line: line.counterparty,
        "staff": lambda line: line.staff,
        "department": lambda line: line.department,
        "currency": lambda line: line.code,
    }
    assert tuple(keys) == sales.DIMENSIONS
    for dimension, key in keys.items():
        found = sales.by(reading, criteria, dimension)
        assert sums(found, "key", "units") == oracle.by(now, criteria, key)
        assert list(found["value"]) == sorted(found["value"], key=largest_first)
        assert ("own_value" in found) == (dimension == "currency")
    own = sales.by(reading, criteria, "currency")
    assert dict(zip(own["key"], own["own_value"], strict=True)) == {
        code: rounded(sum((line.amount for line in now if line.code == code), Decimal(0)))
        for code in {line.code for line in now}
    }
    compare_top_designs(reading, criteria, oracle, now)
    firsts: dict[int, date] = {}
    for line in sorted(oracle.sales, key=lambda line: line.day):
        firsts.setdefault(line.counterparty, line.day)
    kinds = sales.new_and_returning(reading, criteria)
    for kind, is_new in (("new", True), ("returning", False)):
        lines = [line for line in now if (firsts[line.counterparty] >= criteria.since) == is_new]
        [row] = kinds[kinds["kind"] == kind].to_dict("records")
        expected = oracle.sum(lines, criteria)
        customers = len({line.counterparty for line in lines})
        assert (row["counterparties"], row["orders"], row["value"], row["unconverted"]) == (
            customers,
            expected.rows,
            expected.value,
            expected.unconverted,
        )
    rows = sales.rows(reading, criteria, limit=None)
    assert values_by_key(rows, "sales_order_id") == {
        line.key: rounded_or_none(oracle.converted(line, criteria)) for line in now
    }


def largest_first(value: Decimal | None) -> tuple[bool, Decimal]:
    """Return a sort key: the largest value first, unknown ones last."""
    return value is None, -(value or Decimal(0))


def compare_with_before(
    reading: Reading, criteria: Filter, oracle: MetricsOracle, summary: sales.SalesSummary
) -> None:
    """Compare with as many days directly before as the period has until today."""
    passed = (min(criteria.until, oracle.today) - criteria.since).days + 1
    since = criteria.since - passed * DAY
    previous_period = metrics.previous_period(reading, criteria)
    if passed < 1 or since < oracle.first_day:
        assert previous_period is None
        assert (summary.revenue.before, summary.orders_before) == (None, None)
        return
    assert previous_period is not None
    assert previous_period.until == criteria.since - DAY
    assert previous_period.since == since or previous_period.months
    earlier = oracle.sum(oracle.filtered(oracle.sales, previous_period), previous_period)
    assert (summary.orders_before, summary.units_before) == (earlier.rows, earlier.units)
    incomplete = summary.revenue.unconverted or earlier.unconverted
    assert summary.revenue.before == (None if incomplete else earlier.value)


def _start(grain: str, line: Line) -> Hashable:
    return start_of(line.day, grain)


def compare_top_designs(
    reading: Reading, criteria: Filter, oracle: MetricsOracle, now: list[Line]
) -> None:
    found = sales.top_designs(reading, criteria, each=2)
    actual = found[["country", "place", "value", "unconverted"]].to_numpy().tolist()
    expected = []
    for country in sorted({line.country for line in now}):
        there = [line for line in now if line.country == country]
        sold = oracle.by(there, criteria, lambda line: line.row["design_id"]).values()
        best = sorted(sold, key=lambda sum_: largest_first(sum_.value))[:2]
        expected += [
            [country, place, sum_.value, sum_.unconverted] for place, sum_ in enumerate(best, 1)
        ]
    # two without any value: either may come first
    actual, expected = (
        [row[:3] if row[2] is None else row for row in rows] for rows in (actual, expected)
    )
    assert actual == expected


def compare_purchases(reading: Reading, criteria: Filter, oracle: MetricsOracle) -> None:
    now = oracle.filtered(oracle.purchases, criteria)
    expected = oracle.sum(now, criteria)
    summary = purchases.summary(reading, criteria)
    assert total(summary.spend) == (expected.value, expected.rows, expected.unconverted)
    assert summary.items == expected.units
    found = purchases.over_time(reading, criteria, "month")
    by_start = oracle.by(now, criteria, lambda line: start_of(line.day, "month"))
    assert sums(found, "start", "items") == {**zero_sums(found["start"]), **by_start}
    keys: Mapping[str, Callable[[Line], Hashable]] = {
        "counterparty": lambda line: line.counterparty,
        "item": lambda line: line.row["item_code"],
        "staff": lambda line: line.staff,
        "department": lambda line: line.department,
        "country": lambda line: line.country,
        "currency": lambda line: line.code,
    }
    assert tuple(keys) == purchases.DIMENSIONS
    for dimension, key in keys.items():
        found = purchases.by(reading, criteria, dimension)
        assert sums(found, "key", "items") == oracle.by(now, criteria, key)
        assert ("own_value" in found) == (dimension == "currency")
    rows = purchases.rows(reading, criteria, limit=None)
    assert values_by_key(rows, "purchase_order_id") == {
        line.key: rounded_or_none(oracle.converted(line, criteria)) for line in now
    }
    coming = purchases.deliveries(reading, criteria, limit=None)
    assert values_by_key(coming, "purchase_order_id") == {
        line.key: rounded_or_none(oracle.converted(line, criteria))
        for line in oracle.filtered(oracle.purchases, criteria, any_day=True)
        if line.row["agreed_delivery_date"] >= oracle.today
    }


def compare_payments(reading: Reading, criteria: Filter, oracle: MetricsOracle) -> None:
    lines = oracle.filtered(oracle.payments, criteria)
    paid = [line for line in lines if line.row["paid"]]
    open_payments = [
        line
        for line in oracle.filtered(oracle.payments, criteria, any_day=True)
        if not line.row["paid"]
    ]
    overdue = [line for line in open_payments if line.day < oracle.today]
    skipped = [
        line
        for line in open_payments
        if line.day.isoweekday() > 5 or line.day == line.row["created_date"]
    ]
    uncovered = [line for line in skipped if line in overdue]
    found = payments.summary(reading, criteria)
    ended = payments.uncovered(reading, criteria)
    for result, included, direction in (
        (found.cash_in, paid, "in"),
        (found.cash_out, paid, "out"),
        (found.receivable, open_payments, "in"),
        (found.payable, open_payments, "out"),
        (found.overdue_receivable, overdue, "in"),
        (found.overdue_payable, overdue, "out"),
        (ended.receivable, uncovered, "in"),
        (ended.payable, uncovered, "out"),
    ):
        expected = oracle.sum([line for line in included if line.direction == direction], criteria)
        assert total(result) == (expected.value, expected.rows, expected.unconverted), result.metric
    previous_period = metrics.previous_period(reading, criteria)
    if any(line.day > oracle.today for line in paid):
        previous_period = None  # the period before has no such days
    earlier = oracle.filtered(oracle.payments, previous_period or criteria)
    for result, direction in ((found.cash_in, "in"), (found.cash_out, "out")):
        expected = oracle.sum(
            [line for line in earlier if line.direction == direction and line.row["paid"]], criteria
        )
        known = previous_period and not result.unconverted and not expected.unconverted
        assert result.before == (expected.value if known else None), result.metric
    flow = payments.over_time(reading, criteria, "month")
    ahead = payments.expected(reading, criteria, 45)
    assert list(ahead["day"]) == [oracle.today + timedelta(days=day) for day in range(45)]
    to_come = [line for line in open_payments if line.day >= oracle.today]
    expected_ones = [line for line in to_come if line not in skipped]
    uncovered_ones = [line for line in to_come if line in skipped]
    expected_series: tuple[tuple[pd.DataFrame, str, str, dict[str, list[Line]]], ...] = (
        (flow, "start", "month", {"cash": paid}),
        (ahead, "day", "day", {"cash": expected_ones, "uncovered": uncovered_ones}),
    )
    for frame, start, grain, of_these in expected_series:
        for row in frame.to_dict("records"):
            then = {
                name: [line for line in some if start_of(line.day, grain) == row[start]]
                for name, some in of_these.items()
            }
            for name, direction in product(then, ("in", "out")):
                part = [line for line in then[name] if line.direction == direction]
                assert row[f"{name}_{direction}"] == oracle.sum(part, criteria).value
            assert row["net"] == less(row["cash_in"], row["cash_out"])
            assert row["unconverted"] == oracle.sum([*chain(*then.values())], criteria).unconverted
    ages = payments.ages(reading, criteria)
    by_age = oracle.by(
        open_payments, criteria, lambda line: (line.direction, age_of(line, oracle.today))
    )
    zero = Sum(Decimal(0), 0, 0, 0)
    assert {
        (row["direction"], row["age"]): Sum(row["value"], row["payments"], 0, row["unconverted"])
        for row in ages.to_dict("records")
    } == {(direction, age): zero for direction in ("in", "out") for age in AGES} | by_age
    owed = payments.owed(reading, criteria)
    assert sorted(owed["counterparty_id"]) == sorted({line.counterparty for line in open_payments})
    for row in owed.to_dict("records"):
        for name, included, direction in (
            ("receivable", open_payments, "in"),
            ("payable", open_payments, "out"),
            ("overdue_receivable", overdue, "in"),
            ("overdue_payable", overdue, "out"),
        ):
            theirs = [
                line
                for line in included
                if line.direction == direction and line.counterparty == row["counterparty_id"]
            ]
            assert row[name] == oracle.sum(theirs, criteria).value
    for frame, included in (
        (payments.rows(reading, criteria, limit=None), paid),
        (payments.open_rows(reading, criteria, limit=None), open_payments),
        (payments.open_rows(reading, criteria, only="overdue", limit=None), overdue),
        (payments.open_rows(reading, criteria, only="uncovered", limit=None), uncovered),
    ):
        assert values_by_key(frame, "payment_id") == {
            line.key: rounded_or_none(oracle.converted(line, criteria)) for line in included
        }


AGES = {
    "not due": (-(10**6), 0),
    "1-30 days": (1, 30),
    "31-60 days": (31, 60),
    "61-90 days": (61, 90),
    "over 90 days": (91, 10**6),
}


def age_of(line: Line, today: date) -> str:
    days = (today - line.day).days
    return next(age for age, (least, most) in AGES.items() if least <= days <= most)


def compare_overview(reading: Reading, criteria: Filter) -> None:
    """The overview has the same numbers as the other pages."""
    found = overview.totals(reading, criteria)
    paid = payments.summary(reading, criteria)
    assert found.revenue == sales.total(reading, criteria)
    assert found.purchases == purchases.total(reading, criteria)
    assert (found.cash_in, found.payable) == (paid.cash_in, paid.payable)
    series = overview.over_time(reading, criteria, "month")
    assert list(series["revenue"]) == list(sales.over_time(reading, criteria, "month")["value"])
    narrowed = criteria.countries or criteria.departments or criteria.counterparties
    assert (found.margin is None) == ("margin" not in series) == bool(narrowed)
    if found.margin is None:
        return
    assert found.margin.value == less(found.revenue.value, found.purchases.value)
    waits, wait = found.revenue.quarantined, found.purchases.quarantined
    assert found.margin.quarantined == Quarantined(
        waits.rows + wait.rows,
        waits.value - wait.value,
        waits.unknown_values + wait.unknown_values,
        waits.uncertain + wait.uncertain,
        waits.outdated + wait.outdated,
        waits.difference - wait.difference,
        waits.unknown_differences + wait.unknown_differences,
    )
    sold = sales.over_time(reading, criteria, "month")
    bought = purchases.over_time(reading, criteria, "month")
    flow = payments.over_time(reading, criteria, "month")
    assert list(series["margin"]) == list(map(less, sold["value"], bought["value"]))
    assert list(series["unconverted"]) == list(
        sold["unconverted"] + bought["unconverted"] + flow["unconverted"]
    )


def total(found: Total) -> tuple[Decimal | None, int, int]:
    return found.value, found.count, found.unconverted


def sums(frame: pd.DataFrame, key: str, units: str) -> dict[Hashable, Sum]:
    return {
        row[key]: Sum(row["value"], row["orders"], row[units], row["unconverted"])
        for row in frame.to_dict("records")
    }


def zero_sums(starts: Any) -> dict[Hashable, Sum]:
    return {start: Sum(Decimal(0), 0, 0, 0) for start in starts}


def values_by_key(frame: pd.DataFrame, key: str) -> dict[int, Decimal | None]:
    assert len(set(frame[key])) == len(frame)
    return dict(zip(frame[key], frame["value"], strict=True))


def rounded_or_none(value: Decimal | None) -> Decimal | None:
    return None if value is None else rounded(value)
