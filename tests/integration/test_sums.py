"""The dashboard's numbers: each equals the sum over the rows that are true, in one currency.

A small business lives through inserts, updates, deletes, refunds, refusals and releases; after
every batch each metric is compared with the same summed up by hand (`metrics_oracle.py`), for
filters drawn at random, now and as of every moment before.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, product
from typing import Any, get_args

import pandas as pd
import pytest
from depth import drawn
from installation import Installation
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
from random_business import DAY, KENYA, NOW, RandomBusiness
from rollup_check import assert_totals_equal_the_facts
from scratch_source import seeded

from conftest import EmptyWarehouse
from totes.dashboard import metrics
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import (
    Grain,
    Total,
    Waiting,
    debts,
    overview,
    payments,
    purchases,
    sales,
)
from totes.dashboard.reading import Reading, open_reading
from totes.rates import Rates

STEPS = drawn(4, 6)
FILTERS = 3
"""How many filters each state of the warehouse is asked with."""


@dataclass(frozen=True)
class Moment:
    """The facts as they were at a capture."""

    captured_at: datetime
    facts: Facts


def test_every_number_is_the_sum_over_the_rows_that_are_true(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    chance = seeded()
    installation = replace(installation.filled(40), rates=Rates())
    installation.change(KENYA)
    life = RandomBusiness(installation, chance)
    moments = []
    for step in range(STEPS):
        if step:
            life.step()
        installation.run()
        if step == STEPS - 1:
            installation.totes("quarantine", "release")
        [(captured_at,)] = installation.ask("SELECT data_to FROM totes.freshness")
        moments.append(Moment(captured_at, current_facts(installation.warehouse)))
        assert_totals_equal_the_facts(installation.warehouse)
        with open_reading(warehouse.reader) as reading:
            choices = metrics.choices(reading)
            [(known_to,)] = installation.ask(
                "SELECT greatest(data_to, checked_at) FROM totes.freshness"
            )
            brute = MetricsOracle(installation.warehouse, moments[-1].facts, known_to)
            assert choices.today == brute.today
            assert choices.first_day == brute.first_day
            for _ in range(FILTERS):
                compare(reading, life.filter(choices), brute)
            departments = tuple(chance.sample(choices.departments, 2))
            compare_payments(reading, replace(life.filter(choices), departments=departments), brute)
    with open_reading(warehouse.reader) as reading:
        for moment in moments:
            facts = facts_at(installation.warehouse, moment.captured_at)
            assert told_apart(facts, installation) == told_apart(moment.facts, installation)
            brute = MetricsOracle(
                installation.warehouse, facts, moment.captured_at, moment.captured_at
            )
            choices = metrics.choices(reading, moment.captured_at)
            assert (choices.today, choices.history_begins) == (
                brute.today,
                moments[0].captured_at,
            )
            for _ in range(2):
                chosen = replace(life.filter(choices), as_of=moment.captured_at)
                compare(reading, chosen, brute)
    with open_reading(warehouse.reader) as reading, pytest.MonkeyPatch.context() as patched:
        patched.setattr(debts, "STEPS", 4)
        begins = moments[0].captured_at
        chosen = replace(life.filter(metrics.choices(reading)), since=NOW - DAY, until=NOW)
        assert debts.over_time(reading, chosen)["at"][0] == begins
        assert len(debts.over_time(reading, chosen)) == 5
        compare_debts(reading, chosen, [begins.date() + DAY * day for day in (0, 1)], installation)
    compare_history(life, [moment.captured_at for moment in moments], warehouse)


def compare_history(
    life: RandomBusiness, moments: list[datetime], warehouse: EmptyWarehouse
) -> None:
    """What is owed, as time went on."""
    installation, chance = life.installation, life.chance
    days = spread(installation, moments)
    with open_reading(warehouse.reader) as reading:
        for began in days:
            choices = metrics.choices(reading)
            compare_with_then(reading, life.filter(choices), began, installation)
            departments = tuple(chance.sample(choices.departments, 4))
            by_department = Filter(began, NOW, departments=departments)
            compare_with_then(reading, by_department, began, installation)
        compare_debts(reading, replace(by_department, since=days[0]), days, installation)
        chosen = Filter(days[0] - 2 * DAY, NOW)
        assert payments.summary(reading, chosen).receivable.before is None  # nobody knows
        assert debts.over_time(reading, chosen)["at"][0].date() == days[0] - DAY
        anything = replace(life.filter(metrics.choices(reading)), since=days[1], until=NOW)
        compare_debts(reading, anything, days, installation)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(debts, "MOST_DAYS", 5)
            assert debts.over_time(reading, chosen).empty  # too long to be waited for
        then = datetime.combine(days[2], time(), UTC)
        compare_debts(reading, replace(chosen, as_of=then), days, installation)


def spread(installation: Installation, moments: list[datetime]) -> list[date]:
    """As if days lay between the captures; the days after them."""
    days = []
    for number, moment in enumerate(moments):
        instead = datetime.combine(NOW - (3 * (len(moments) - number)) * DAY, time(15), UTC)
        days.append(instead.date() + DAY)
        for column in (
            *("fact_payment.valid_from", "fact_payment.valid_to", "fact_sales_order.valid_from"),
            *("fact_sales_order.valid_to", "totes.batches.captured_at"),
        ):
            table, _, name = column.rpartition(".")
            installation.ask(f"UPDATE {table} SET {name} = '{instead}' WHERE {name} = '{moment}'")
    return days


def open_at(
    installation: Installation, moment: datetime, chosen: Filter
) -> tuple[MetricsOracle, list[Line]]:
    """What was open at a moment.

    Of what still is as it was, the order tells now whose it is; of what has ended since, the order
    as it was last, also where it is gone.
    """
    then = facts_at(installation.warehouse, moment)["fact_payment"]
    found: list[Line] = []
    for orders, ended in ((current_facts, False), (last_facts, True)):
        rows = [row for row in then if (row["valid_to"] is not None) is ended]
        facts = {**orders(installation.warehouse), "fact_payment": rows}
        brute = MetricsOracle(installation.warehouse, facts, moment)
        found += brute.chosen(brute.payments, chosen, whenever=True)
    return brute, [line for line in found if not line.row["paid"]]


def compare_with_then(
    reading: Reading, chosen: Filter, began: date, installation: Installation
) -> None:
    """What was open when the period began is what was true then."""
    midnight = datetime.combine(began, time(), UTC)
    chosen = replace(chosen, since=began, until=NOW)
    print(chosen)  # noqa: T201  where a comparison fails
    brute, then = open_at(installation, midnight, chosen)
    found = payments.summary(reading, chosen)
    for now, direction, overdue in (
        (found.receivable, "in", False),
        (found.payable, "out", False),
        (found.overdue_receivable, "in", True),
        (found.overdue_payable, "out", True),
    ):
        expected = brute.sum(
            [
                line
                for line in then
                if line.direction == direction and (line.day < began or not overdue)
            ],
            chosen,
        )
        incomplete = now.unconverted or expected.unconverted
        assert now.before == (None if incomplete else expected.value), now.name


def compare_debts(
    reading: Reading, chosen: Filter, days: list[date], installation: Installation
) -> None:
    """What was open at each moment is what was true then; the last is what is open now."""
    print(chosen)  # noqa: T201  where a comparison fails
    found = debts.over_time(reading, chosen)
    last, now = found.iloc[-1], payments.summary(reading, chosen)
    assert (last["receivable"], last["payable"]) == (now.receivable.value, now.payable.value)
    assert last["unconverted"] == now.receivable.unconverted + now.payable.unconverted
    before: Mapping[Hashable, Any] = {}
    for row in found.to_dict("records")[:-1]:
        if before and row["at"].date() not in days:  # nothing has happened
            assert row == {**before, "at": before["at"] + DAY}
        else:
            brute, still = open_at(installation, row["at"], chosen)
            theirs, ours = (
                brute.sum([line for line in still if line.direction == way], chosen)
                for way in ("in", "out")
            )
            assert (row["receivable"], row["payable"]) == (theirs.value, ours.value)
            assert row["unconverted"] == theirs.unconverted + ours.unconverted
        before = row


def told_apart(facts: Facts, installation: Installation) -> set[tuple[Any, ...]]:
    """The rows whose history no release can have mended."""
    refused = set(installation.ask("SELECT star_table, key FROM totes.quarantine"))
    return {
        (fact, *[value for name, value in row.items() if name != "valid_to"])
        for fact, rows in facts.items()
        for row in rows
        if (fact, str(list(row.values())[1])) not in refused
    }


def compare(reading: Reading, chosen: Filter, brute: MetricsOracle) -> None:
    """Every metric with the same by hand."""
    print(chosen)  # noqa: T201  where a comparison fails
    compare_sales(reading, chosen, brute)
    compare_purchases(reading, chosen, brute)
    compare_payments(reading, chosen, brute)
    compare_overview(reading, chosen)
    compare_waiting(reading, chosen, brute)


def compare_waiting(reading: Reading, chosen: Filter, brute: MetricsOracle) -> None:
    """What is in quarantine beside each total."""
    paid = payments.summary(reading, chosen)
    never = payments.never_paid(reading, chosen)
    for found, name in (
        (sales.total(reading, chosen), "sales"),
        (purchases.total(reading, chosen), "purchases"),
        (paid.cash_in, "cash_in"),
        (paid.cash_out, "cash_out"),
        (paid.receivable, "owed_in"),
        (paid.payable, "owed_out"),
        (paid.overdue_receivable, "overdue_in"),
        (paid.overdue_payable, "overdue_out"),
        (never.receivable, "never_in"),
        (never.payable, "never_out"),
    ):
        assert astuple(found.waiting) == brute.waiting(name, chosen), name


def compare_sales(reading: Reading, chosen: Filter, brute: MetricsOracle) -> None:
    now = brute.chosen(brute.sales, chosen)
    expected = brute.sum(now, chosen)
    summary = sales.summary(reading, chosen)
    assert total(summary.revenue) == (expected.value, expected.rows, expected.unconverted)
    assert (summary.orders, summary.units) == (expected.rows, expected.units)
    compare_with_before(reading, chosen, brute, summary)
    for grain in get_args(Grain):
        found = sales.over_time(reading, chosen, grain)
        by_start = brute.by(now, chosen, partial(_start, grain))
        assert sums(found, "start", "units") == {**nothing(found["start"]), **by_start}
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
        found = sales.by(reading, chosen, dimension)
        assert sums(found, "key", "units") == brute.by(now, chosen, key)
        assert list(found["value"]) == sorted(found["value"], key=down)
        assert ("own_value" in found) == (dimension == "currency")
    own = sales.by(reading, chosen, "currency")
    assert dict(zip(own["key"], own["own_value"], strict=True)) == {
        code: rounded(sum((line.amount for line in now if line.code == code), Decimal(0)))
        for code in {line.code for line in now}
    }
    compare_top_designs(reading, chosen, brute, now)
    firsts: dict[int, date] = {}
    for line in sorted(brute.sales, key=lambda line: line.day):
        firsts.setdefault(line.counterparty, line.day)
    kinds = sales.new_and_returning(reading, chosen)
    for kind, is_new in (("new", True), ("returning", False)):
        lines = [line for line in now if (firsts[line.counterparty] >= chosen.since) == is_new]
        [row] = kinds[kinds["kind"] == kind].to_dict("records")
        expected = brute.sum(lines, chosen)
        customers = len({line.counterparty for line in lines})
        assert (row["counterparties"], row["orders"], row["value"], row["unconverted"]) == (
            customers,
            expected.rows,
            expected.value,
            expected.unconverted,
        )
    rows = sales.rows(reading, chosen, limit=None)
    assert each(rows, "sales_order_id") == {
        line.key: worth(brute.converted(line, chosen)) for line in now
    }


def down(value: Decimal | None) -> tuple[bool, Decimal]:
    """The order of the biggest first, and what isn't known last."""
    return value is None, -(value or Decimal(0))


def compare_with_before(
    reading: Reading, chosen: Filter, brute: MetricsOracle, summary: sales.SalesSummary
) -> None:
    """As many days directly before, as far as the period has passed and the data goes back."""
    passed = (min(chosen.until, brute.today) - chosen.since).days + 1
    since = chosen.since - passed * DAY
    compared = metrics.compared(reading, chosen)
    if passed < 1 or since < brute.first_day:
        assert compared is None
        assert (summary.revenue.before, summary.orders_before) == (None, None)
        return
    assert compared is not None
    assert (compared.since, compared.until) == (since, chosen.since - DAY)
    earlier = brute.sum(brute.chosen(brute.sales, compared), compared)
    assert (summary.orders_before, summary.units_before) == (earlier.rows, earlier.units)
    incomplete = summary.revenue.unconverted or earlier.unconverted
    assert summary.revenue.before == (None if incomplete else earlier.value)


def _start(grain: str, line: Line) -> Hashable:
    return start_of(line.day, grain)


def compare_top_designs(
    reading: Reading, chosen: Filter, brute: MetricsOracle, now: list[Line]
) -> None:
    found = sales.top_designs(reading, chosen, each=2)
    told = found[["country", "place", "value", "unconverted"]].to_numpy().tolist()
    expected = []
    for country in sorted({line.country for line in now}):
        there = [line for line in now if line.country == country]
        sold = brute.by(there, chosen, lambda line: line.row["design_id"]).values()
        best = sorted(sold, key=lambda sum_: down(sum_.value))[:2]
        expected += [
            [country, place, sum_.value, sum_.unconverted] for place, sum_ in enumerate(best, 1)
        ]
    # two without any value: either may come first
    told, expected = (
        [row[:3] if row[2] is None else row for row in rows] for rows in (told, expected)
    )
    assert told == expected


def compare_purchases(reading: Reading, chosen: Filter, brute: MetricsOracle) -> None:
    now = brute.chosen(brute.purchases, chosen)
    expected = brute.sum(now, chosen)
    summary = purchases.summary(reading, chosen)
    assert total(summary.spend) == (expected.value, expected.rows, expected.unconverted)
    assert summary.quantity == expected.units
    found = purchases.over_time(reading, chosen, "month")
    by_start = brute.by(now, chosen, lambda line: start_of(line.day, "month"))
    assert sums(found, "start", "quantity") == {**nothing(found["start"]), **by_start}
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
        found = purchases.by(reading, chosen, dimension)
        assert sums(found, "key", "quantity") == brute.by(now, chosen, key)
        assert ("own_value" in found) == (dimension == "currency")
    rows = purchases.rows(reading, chosen, limit=None)
    assert each(rows, "purchase_order_id") == {
        line.key: worth(brute.converted(line, chosen)) for line in now
    }
    coming = purchases.deliveries(reading, chosen, limit=None)
    assert each(coming, "purchase_order_id") == {
        line.key: worth(brute.converted(line, chosen))
        for line in brute.chosen(brute.purchases, chosen, whenever=True)
        if line.row["agreed_delivery_date"] >= brute.today
    }


def compare_payments(reading: Reading, chosen: Filter, brute: MetricsOracle) -> None:
    lines = brute.chosen(brute.payments, chosen)
    paid = [line for line in lines if line.row["paid"]]
    still = [
        line for line in brute.chosen(brute.payments, chosen, whenever=True) if not line.row["paid"]
    ]
    overdue = [line for line in still if line.day < brute.today]
    of_no_run = [
        line for line in still if line.day.isoweekday() > 5 or line.day == line.row["created_date"]
    ]
    never = [line for line in of_no_run if line in overdue]
    found = payments.summary(reading, chosen)
    ended = payments.never_paid(reading, chosen)
    for told, among, direction in (
        (found.cash_in, paid, "in"),
        (found.cash_out, paid, "out"),
        (found.receivable, still, "in"),
        (found.payable, still, "out"),
        (found.overdue_receivable, overdue, "in"),
        (found.overdue_payable, overdue, "out"),
        (ended.receivable, never, "in"),
        (ended.payable, never, "out"),
    ):
        expected = brute.sum([line for line in among if line.direction == direction], chosen)
        assert total(told) == (expected.value, expected.rows, expected.unconverted), told.name
    compared = metrics.compared(reading, chosen)
    if any(line.day > brute.today for line in paid):
        compared = None  # the period before has no such days
    earlier = brute.chosen(brute.payments, compared or chosen)
    for told, direction in ((found.cash_in, "in"), (found.cash_out, "out")):
        expected = brute.sum(
            [line for line in earlier if line.direction == direction and line.row["paid"]], chosen
        )
        known = compared and not told.unconverted and not expected.unconverted
        assert told.before == (expected.value if known else None), told.name
    flow = payments.over_time(reading, chosen, "month")
    ahead = payments.expected(reading, chosen, 45)
    assert list(ahead["day"]) == [brute.today + timedelta(days=day) for day in range(45)]
    to_come = [line for line in still if line.day >= brute.today]
    expected_ones = [line for line in to_come if line not in of_no_run]
    of_none = [line for line in to_come if line in of_no_run]
    asked: tuple[tuple[pd.DataFrame, str, str, dict[str, list[Line]]], ...] = (
        (flow, "start", "month", {"cash": paid}),
        (ahead, "day", "day", {"cash": expected_ones, "never": of_none}),
    )
    for frame, start, grain, of_these in asked:
        for row in frame.to_dict("records"):
            then = {
                name: [line for line in some if start_of(line.day, grain) == row[start]]
                for name, some in of_these.items()
            }
            for name, direction in product(then, ("in", "out")):
                part = [line for line in then[name] if line.direction == direction]
                assert row[f"{name}_{direction}"] == brute.sum(part, chosen).value
            assert row["net"] == less(row["cash_in"], row["cash_out"])
            every = list(chain(*then.values()))
            assert row["unconverted"] == brute.sum(every, chosen).unconverted
    ages = payments.ages(reading, chosen)
    by_age = brute.by(still, chosen, lambda line: (line.direction, age_of(line, brute.today)))
    zero = Sum(Decimal(0), 0, 0, 0)
    assert {
        (row["direction"], row["age"]): Sum(row["value"], row["payments"], 0, row["unconverted"])
        for row in ages.to_dict("records")
    } == {(direction, age): zero for direction in ("in", "out") for age in AGES} | by_age
    owed = payments.owed(reading, chosen)
    assert sorted(owed["counterparty_id"]) == sorted({line.counterparty for line in still})
    for row in owed.to_dict("records"):
        for name, among, direction in (
            ("receivable", still, "in"),
            ("payable", still, "out"),
            ("overdue_receivable", overdue, "in"),
            ("overdue_payable", overdue, "out"),
        ):
            theirs = [
                line
                for line in among
                if line.direction == direction and line.counterparty == row["counterparty_id"]
            ]
            assert row[name] == brute.sum(theirs, chosen).value
    for frame, among in (
        (payments.rows(reading, chosen, limit=None), paid),
        (payments.open_rows(reading, chosen, limit=None), still),
        (payments.open_rows(reading, chosen, only="overdue", limit=None), overdue),
        (payments.open_rows(reading, chosen, only="never paid", limit=None), never),
    ):
        assert each(frame, "payment_id") == {
            line.key: worth(brute.converted(line, chosen)) for line in among
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


def compare_overview(reading: Reading, chosen: Filter) -> None:
    """It tells what the other pages do."""
    found = overview.totals(reading, chosen)
    paid = payments.summary(reading, chosen)
    assert found.revenue == sales.total(reading, chosen)
    assert found.purchases == purchases.total(reading, chosen)
    assert (found.cash_in, found.payable) == (paid.cash_in, paid.payable)
    series = overview.over_time(reading, chosen, "month")
    assert list(series["revenue"]) == list(sales.over_time(reading, chosen, "month")["value"])
    narrowed = chosen.countries or chosen.departments or chosen.counterparties
    assert (found.margin is None) == ("margin" not in series) == bool(narrowed)
    if found.margin is None:
        return
    assert found.margin.value == less(found.revenue.value, found.purchases.value)
    waits, wait = found.revenue.waiting, found.purchases.waiting
    assert found.margin.waiting == Waiting(
        waits.rows + wait.rows,
        waits.value - wait.value,
        waits.unvalued + wait.unvalued,
        waits.unsure + wait.unsure,
        waits.outdated + wait.outdated,
        waits.difference - wait.difference,
        waits.undetermined + wait.undetermined,
    )
    sold = sales.over_time(reading, chosen, "month")
    bought = purchases.over_time(reading, chosen, "month")
    flow = payments.over_time(reading, chosen, "month")
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


def nothing(starts: Any) -> dict[Hashable, Sum]:
    return {start: Sum(Decimal(0), 0, 0, 0) for start in starts}


def each(frame: pd.DataFrame, key: str) -> dict[int, Decimal | None]:
    assert len(set(frame[key])) == len(frame)
    return dict(zip(frame[key], frame["value"], strict=True))


def worth(value: Decimal | None) -> Decimal | None:
    return None if value is None else rounded(value)
