"""The dashboard's numbers: each equals the sum over the rows that are true, in one currency.

A small business lives through inserts, updates, deletes, refunds, refusals and releases; after
every batch each metric is compared with the same summed up by hand (`brute.py`), for filters drawn
at random, now and as of every moment before.
"""

import ast
import re
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from importlib.resources import files
from itertools import chain, product
from pathlib import Path
from random import Random
from typing import Any, get_args

import pandas as pd
import psycopg
import pytest

import totes.dashboard
from brute import Brute, Facts, Line, Sum, current_facts, facts_at, less, rounded, start_of
from conftest import EmptyWarehouse
from plant import Plant, at
from shop import seeded
from totals import assert_totals_equal_the_facts
from totes.dashboard import metrics
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.metrics import (
    Grain,
    Total,
    Waiting,
    debts,
    dictionary,
    history,
    lines,
    overview,
    payments,
    pipeline,
    purchases,
    sales,
)
from totes.dashboard.reading import Reading, _frame, open_reading, refuse_writers
from totes.errors import UsageError, WarehouseAway, WarehouseError
from totes.rates import Rates
from totes.replay import replay
from totes.star.contract import STARS
from totes.verify import verify
from totes.warehouse.daily import NAMES
from totes.warehouse.schema import migrate

STEPS = 4
FILTERS = 3
"""How many filters each state of the warehouse is asked with."""

KENYA = """
INSERT INTO currency VALUES (4, 'KES', now(), now());
"""
"""A currency that the European Central Bank quotes no rate of."""

DAY = timedelta(days=1)
NOW = datetime.now(UTC).date()
"""Rates are known to today, and good for a year."""

DAYS = (
    date(2021, 12, 30),  # before the first rate
    date(2022, 11, 8),
    date(2022, 11, 12),  # a Saturday
    date(2022, 12, 26),
    date(2023, 1, 31),
)

SALE = """
WITH made AS (
    INSERT INTO sales_order SELECT
        nextval(pg_get_serial_sequence('sales_order', 'sales_order_id')), '{day} 09:00', '{day}',
        design_id, staff_id, counterparty_id, {units}, {price}, {currency}, '{day}', '{due}',
        agreed_delivery_location_id
    FROM sales_order ORDER BY md5(sales_order_id || '{salt}') LIMIT 1
    RETURNING *
), reason AS (
    INSERT INTO "transaction" SELECT
        nextval(pg_get_serial_sequence('"transaction"', 'transaction_id')), 'SALE',
        sales_order_id, NULL, created_at, last_updated
    FROM made RETURNING *
)
INSERT INTO payment SELECT
    nextval(pg_get_serial_sequence('payment', 'payment_id')), '{day} 09:00', '{day}',
    reason.transaction_id, made.counterparty_id, {units} * {price}, {currency}, {kind}, {paid},
    '{due}', 1, 2
FROM made, reason
"""

ALTERATIONS = (
    """
    UPDATE sales_order SET units_sold = units_sold + 1, currency_id = 1 + units_sold % 4
    WHERE sales_order_id % 5 = {rest}
    """,
    """
    UPDATE sales_order SET staff_id = 1 + staff_id % 20, design_id = 1 + design_id % 9
    WHERE sales_order_id % 5 = {rest}
    """,
    """
    UPDATE purchase_order
    SET item_unit_price = item_unit_price + 0.01, counterparty_id = 1 + counterparty_id % 20
    WHERE purchase_order_id % 5 = {rest}
    """,
    """
    UPDATE sales_order SET created_at = '2022-12-24 10:00' WHERE sales_order_id % 7 = {rest}
    """,
    """
    UPDATE purchase_order SET staff_id = 1 + staff_id % 20 WHERE purchase_order_id % 3 = {rest} % 3
    """,
    """
    UPDATE "transaction" SET sales_order_id = NULL WHERE sales_order_id % 6 = {rest};
    UPDATE "transaction" SET sales_order_id = (
        SELECT max(sales_order_id) FROM sales_order AS s WHERE NOT EXISTS (
            SELECT FROM "transaction" AS t WHERE t.sales_order_id = s.sales_order_id
        )
    )
    WHERE transaction_id = (
        SELECT min(transaction_id) FROM "transaction"
        WHERE coalesce(sales_order_id, purchase_order_id) IS NULL
    )
    """,
    """
    UPDATE payment SET transaction_id = coalesce(
        (
            SELECT min(transaction_id) FROM "transaction" AS t
            WHERE NOT EXISTS (SELECT FROM payment AS p WHERE p.transaction_id = t.transaction_id)
        ),
        transaction_id
    )
    WHERE payment_id = (SELECT max(payment_id) - {rest} FROM payment)
    """,
    "UPDATE staff SET department_id = 1 + department_id % 8 WHERE staff_id % 2 = 0",
    "UPDATE address SET country = 'Turkey' WHERE address_id % 4 = 0",
)

REFUSALS = (
    """
    UPDATE sales_order SET agreed_delivery_date = 'soon', units_sold = 5
    WHERE sales_order_id % 11 = {rest}
    """,
    "UPDATE purchase_order SET created_at = '3000-01-01' WHERE purchase_order_id % 11 = {rest}",
    "UPDATE payment SET payment_date = '2023-02-31' WHERE payment_id % 11 = {rest}",
    "UPDATE payment SET created_at = '3000-01-01' WHERE payment_id % 5 = {rest}",
    "UPDATE payment SET created_at = '3001-01-01' WHERE created_at = '3000-01-01'",
    """
    INSERT INTO currency VALUES (5, 'XQX', now(), now()) ON CONFLICT DO NOTHING;
    UPDATE sales_order SET currency_id = 5 WHERE sales_order_id % 11 = {rest}
    """,
)
"""Values that the contract refuses, and a currency that ISO 4217 doesn't know."""

DELETIONS = (
    "DELETE FROM sales_order WHERE sales_order_id % 9 = {rest}",  # the payment stays
    "DELETE FROM purchase_order WHERE purchase_order_id % 9 = {rest}",
    """
WITH gone AS (
    SELECT transaction_id, sales_order_id FROM "transaction" WHERE sales_order_id % 9 = {rest}
), paid AS (DELETE FROM payment USING gone WHERE payment.transaction_id = gone.transaction_id)
DELETE FROM "transaction" USING gone WHERE "transaction".transaction_id = gone.transaction_id;
DELETE FROM sales_order WHERE sales_order_id % 9 = {rest}
""",
)


class Life:
    """What happens to the business between two captures."""

    def __init__(self, plant: Plant, chance: Random) -> None:
        self.plant = plant
        self.chance = chance

    def step(self) -> None:
        for _ in range(self.chance.randint(2, 5)):
            event = self.chance.choice(
                (self.sell, self.sell, self.alter, self.delete, self.pay, self.spoil, self.mend)
            )
            self.plant.change(event())
        self.plant.change(self.spoil())

    def sell(self) -> str:
        day = self.chance.choice(DAYS)
        return SALE.format(
            day=day,
            due=self.chance.choice(
                (day, day + 3 * DAY, day + 40 * DAY, NOW + 20 * DAY, NOW + 500 * DAY)
            ),
            units=self.chance.randint(1, 99_999),
            price=self.chance.randint(1, 99_999) / Decimal(100),
            currency=self.chance.randint(1, 4),
            kind=self.chance.choice((1, 2)),  # a receipt or a refund
            paid=self.chance.choice(("true", "false")),
            salt=self.chance.random(),
        )

    def alter(self) -> str:
        rest = self.chance.randint(0, 4)
        return self.chance.choice(ALTERATIONS).format(rest=rest)

    def delete(self) -> str:
        return self.chance.choice(DELETIONS).format(rest=self.chance.randint(0, 8))

    def pay(self) -> str:
        return f"UPDATE payment SET paid = NOT paid WHERE payment_id % 4 = {self._rest()}"

    def spoil(self) -> str:
        """Rows that the contract refuses, and a currency whose orders must wait."""
        rest = self._rest()
        return self.chance.choice(REFUSALS).format(rest=rest)

    def mend(self) -> str:
        return (
            "UPDATE sales_order SET agreed_delivery_date = '2022-12-01'"
            " WHERE agreed_delivery_date = 'soon';"
            "UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 5;"
            "UPDATE payment SET payment_date = '2022-12-01' WHERE payment_date = '2023-02-31';"
            "UPDATE payment SET created_at = '2022-12-01' WHERE created_at = '3001-01-01'"
        )

    def _rest(self) -> int:
        return self.chance.randint(0, 3)

    def filter(self, choices: Choices) -> Filter:
        """One that somebody may choose."""

        def some(values: Any, most: int) -> tuple[Any, ...]:
            count = self.chance.choice((0, 0, 0, 1, min(most, len(values))))
            return tuple(self.chance.sample(sorted(values), count))

        since = self.chance.choice(
            (choices.first_day, date(2022, 11, 7), date(2022, 12, 1), choices.today - 9 * DAY)
        )
        until = since + timedelta(days=self.chance.choice((0, 6, 30, 400)))
        return Filter(
            since,
            until,
            currencies=some(choices.currencies, 2),
            countries=some(choices.countries, 3),
            departments=some(choices.departments, 3),
            counterparties=some(choices.counterparties, 8),
            reporting=self.chance.choice(("GBP", "EUR", "USD")),
        )


@dataclass(frozen=True)
class Moment:
    """The facts as they were at a capture."""

    captured_at: datetime
    facts: Facts


@pytest.mark.slow
def test_every_number_is_the_sum_over_the_rows_that_are_true(
    plant: Plant, warehouse: EmptyWarehouse
) -> None:
    chance = seeded()
    plant = replace(plant.filled(40), rates=Rates())
    plant.change(KENYA)
    life = Life(plant, chance)
    moments = []
    for step in range(STEPS):
        if step:
            life.step()
        plant.run()
        if step == STEPS - 1:
            plant.totes("quarantine", "release")
        [(captured_at,)] = plant.ask("SELECT data_to FROM totes.freshness")
        moments.append(Moment(captured_at, current_facts(plant.warehouse)))
        assert_totals_equal_the_facts(plant.warehouse)
        with open_reading(warehouse.reader) as reading:
            choices = metrics.choices(reading)
            [(known_to,)] = plant.ask("SELECT greatest(data_to, checked_at) FROM totes.freshness")
            brute = Brute(plant.warehouse, moments[-1].facts, known_to)
            assert choices.today == brute.today
            assert choices.first_day == brute.first_day
            for _ in range(FILTERS):
                compare(reading, life.filter(choices), brute)
            departments = tuple(chance.sample(choices.departments, 2))
            compare_payments(reading, replace(life.filter(choices), departments=departments), brute)
    with open_reading(warehouse.reader) as reading:
        for moment in moments:
            facts = facts_at(plant.warehouse, moment.captured_at)
            assert told_apart(facts, plant) == told_apart(moment.facts, plant)
            brute = Brute(plant.warehouse, facts, moment.captured_at, moment.captured_at)
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
        compare_debts(reading, chosen, [begins.date() + DAY * day for day in (0, 1)], plant)
    days = spread(plant, [moment.captured_at for moment in moments])
    with open_reading(warehouse.reader) as reading:
        for began in days:
            compare_with_then(reading, life.filter(metrics.choices(reading)), began, plant)
        chosen = Filter(days[0] - 2 * DAY, NOW)
        assert payments.summary(reading, chosen).receivable.before is None  # nobody knows
        assert debts.over_time(reading, chosen)["at"][0].date() == days[0] - DAY
        anything = replace(life.filter(metrics.choices(reading)), since=days[1], until=NOW)
        compare_debts(reading, anything, days, plant)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(debts, "MOST_DAYS", 5)
            assert debts.over_time(reading, chosen).empty  # too long to be waited for
        then = datetime.combine(days[2], time(), UTC)
        compare_debts(reading, replace(chosen, as_of=then), days, plant)


def spread(plant: Plant, moments: list[datetime]) -> list[date]:
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
            plant.ask(f"UPDATE {table} SET {name} = '{instead}' WHERE {name} = '{moment}'")
    return days


def compare_with_then(reading: Reading, chosen: Filter, began: date, plant: Plant) -> None:
    """What was open when the period began is what was true then."""
    midnight = datetime.combine(began, time(), UTC)
    chosen = replace(chosen, since=began, until=NOW, departments=())
    print(chosen)  # noqa: T201  where a comparison fails
    brute = Brute(plant.warehouse, facts_at(plant.warehouse, midnight), midnight)
    then = [
        line for line in brute.chosen(brute.payments, chosen, whenever=True) if not line.row["paid"]
    ]
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


def compare_debts(reading: Reading, chosen: Filter, days: list[date], plant: Plant) -> None:
    """What was open at each moment is what was true then; the last is what is open now."""
    chosen = replace(chosen, departments=())
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
            brute = Brute(plant.warehouse, facts_at(plant.warehouse, row["at"]), row["at"])
            lines = brute.chosen(brute.payments, chosen, whenever=True)
            still = [line for line in lines if not line.row["paid"]]
            theirs, ours = (
                brute.sum([line for line in still if line.direction == way], chosen)
                for way in ("in", "out")
            )
            assert (row["receivable"], row["payable"]) == (theirs.value, ours.value)
            assert row["unconverted"] == theirs.unconverted + ours.unconverted
        before = row


def told_apart(facts: Facts, plant: Plant) -> set[tuple[Any, ...]]:
    """The rows whose history no release can have mended."""
    refused = set(plant.ask("SELECT star_table, key FROM totes.quarantine"))
    return {
        (fact, *[value for name, value in row.items() if name != "valid_to"])
        for fact, rows in facts.items()
        for row in rows
        if (fact, str(list(row.values())[1])) not in refused
    }


def compare(reading: Reading, chosen: Filter, brute: Brute) -> None:
    """Every metric with the same by hand."""
    print(chosen)  # noqa: T201  where a comparison fails
    compare_sales(reading, chosen, brute)
    compare_purchases(reading, chosen, brute)
    compare_payments(reading, chosen, brute)
    compare_overview(reading, chosen)
    compare_waiting(reading, chosen, brute)


def compare_waiting(reading: Reading, chosen: Filter, brute: Brute) -> None:
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


def compare_sales(reading: Reading, chosen: Filter, brute: Brute) -> None:
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
    reading: Reading, chosen: Filter, brute: Brute, summary: sales.SalesSummary
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


def compare_top_designs(reading: Reading, chosen: Filter, brute: Brute, now: list[Line]) -> None:
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


def compare_purchases(reading: Reading, chosen: Filter, brute: Brute) -> None:
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


def compare_payments(reading: Reading, chosen: Filter, brute: Brute) -> None:
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


# One example, to be followed with a pencil.


@pytest.fixture
def told(plant: Plant) -> Plant:
    """Two sales in pounds."""
    plant.filled(2).change(
        "UPDATE currency SET currency_code = 'GBP' WHERE currency_id = 1;"
        "UPDATE currency SET currency_code = 'USD' WHERE currency_id = 2;"
        "UPDATE currency SET currency_code = 'EUR' WHERE currency_id = 3;"
        "UPDATE sales_order SET units_sold = 100, unit_price = 2.50, currency_id = 1,"
        " created_at = '2022-11-07 09:00', counterparty_id = sales_order_id;"
        "UPDATE design SET design_name = '<script>alert(1)</script>' WHERE design_id = 1;"
        "UPDATE sales_order SET design_id = 1"
    )
    plant.run()
    return plant


@pytest.fixture
def rated(told: Plant) -> Plant:
    """The same with exchange rates."""
    plant = replace(told, rates=Rates())
    plant.run()
    return plant


@pytest.mark.slow
def test_a_page_shows_what_the_orders_say(rated: Plant, warehouse: EmptyWarehouse) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        summary = sales.summary(reading, november)
        assert summary.revenue.value == Decimal(500)
        assert summary.average_price == Decimal("2.5")
        assert (summary.revenue.before, summary.revenue.direction) == (None, "unknown")
        later = sales.total(reading, november.within(date(2022, 11, 8), date(2022, 11, 8)))
        assert (later.value, later.before, later.direction) == (Decimal(0), None, "unknown")
        [best] = sales.by(reading, november, "design").to_dict("records")
        assert (best["name"], best["share"]) == ("<script>alert(1)</script>", 1)
    rated.change(
        "UPDATE sales_order SET units_sold = 300 WHERE sales_order_id = 1;"
        "UPDATE sales_order SET currency_id = 2 WHERE sales_order_id = 2"
    )
    rated.run()
    [(rate,)] = rated.ask(
        "SELECT rate FROM exchange_rate_to('GBP')"
        " WHERE rate_date = '2022-11-07' AND currency_code = 'USD'"
    )
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).value == 750 + rounded(250 * rate)
    rated.change('DELETE FROM payment; DELETE FROM "transaction"; DELETE FROM sales_order')
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november) == Total("Revenue", Decimal(0), before=None)
        found = history.versions(reading, "sales_order", 1)
    first, second = found.versions
    assert not first.changed
    assert second.changed == {"units_sold"}
    units = [version.values["units_sold"] for version in found.versions]  # noqa: PD011  our own
    assert units == [100, 300]
    assert first.values["design"] == "<script>alert(1)</script>"  # noqa: PD011
    assert found.deleted_at == second.valid_to
    assert first.valid_to == second.valid_from


@pytest.mark.slow
def test_what_compares_is_complete_and_as_long_as_what_has_passed(
    rated: Plant, warehouse: EmptyWarehouse
) -> None:
    rated.change("UPDATE sales_order SET created_at = '2022-11-03 09:00' WHERE sales_order_id = 1")
    rated.change("UPDATE payment SET paid = true, payment_date = '2022-11-20', currency_id = 1")
    rated.run()
    sixth = Filter(date(2022, 11, 6), date(2022, 11, 30))  # of which two days have passed
    with open_reading(warehouse.reader) as reading:
        compared = metrics.compared(reading, sixth)
        assert compared == replace(sixth, since=date(2022, 11, 4), until=date(2022, 11, 5))
        revenue = sales.total(reading, sixth)
        assert (revenue.value, revenue.before) == (Decimal(250), Decimal(0))
        cash = payments.summary(reading, sixth).cash_in  # of days, too, that are yet to come
        assert (cash.value != 0, cash.before) == (True, None)
        assert (
            payments.summary(reading, sixth.within(sixth.since, date(2022, 11, 7))).cash_in.before
            == 0
        )
        fifth = sixth.within(date(2022, 11, 5), date(2022, 11, 30))  # three days
        assert metrics.compared(reading, fifth) is None  # the data begins on the 3rd
        assert sales.summary(reading, fifth).orders_before is None
        third = sixth.within(date(2022, 11, 4), date(2022, 11, 4))
        revenue = sales.total(reading, third)
        assert (revenue.change, revenue.before) == (Decimal(-1), Decimal(250))
    rated.change(
        "UPDATE sales_order SET created_at = '2022-11-03 09:00', currency_id = sales_order_id"
    )
    rated.change(
        SALE.format(
            day="2022-11-07",
            due="2022-11-09",
            units=1,
            price=1,
            currency=1,
            kind=1,
            paid="true",
            salt="",
        )
    )
    rated.run()
    rated.ask("DELETE FROM fact_exchange_rate")
    with open_reading(warehouse.reader) as reading:
        summary = sales.summary(reading, third)
        assert (summary.orders_before, summary.average_price_before) == (2, None)
        assert summary.revenue.before is None  # that of one of the orders is not known


@pytest.mark.slow
def test_what_waits_is_told_beside_the_totals_that_it_belongs_to(
    rated: Plant, warehouse: EmptyWarehouse
) -> None:
    rated.change(
        "UPDATE payment SET payment_amount = 1000, currency_id = 1, payment_date = '2022-11-07',"
        " created_at = '3000-01-01', paid = true, payment_type_id = 1,"
        " payment_id = payment_id + 1000"  # none of them was ever accepted
    )
    rated.change(
        "UPDATE payment SET payment_type_id = 2, payment_amount = 300"  # a refund
        " WHERE payment_id = (SELECT max(payment_id) FROM payment)"
    )
    rated.run()
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    [(count,)] = rated.ask("SELECT count(*) FROM totes.quarantine")
    with open_reading(warehouse.reader) as reading:
        found = payments.summary(reading, november)
        worth = Decimal(1000 * (count - 1) - 300)
        assert found.cash_in.waiting == Waiting(count, worth)
        for other in (found.cash_out, found.receivable, found.overdue_receivable, found.payable):
            assert other.waiting == Waiting()
        dollars = payments.summary(reading, replace(november, currencies=("USD",)))
        assert dollars.cash_in.waiting == Waiting()
        december = payments.summary(reading, november.within(NOW, NOW))
        assert december.cash_in.waiting == Waiting()
    rated.change("UPDATE payment SET paid = false, payment_date = '2022-02-30'")
    rated.run()  # refused once more: the same payments
    with open_reading(warehouse.reader) as reading:
        found = payments.summary(reading, november)
        assert found.receivable.waiting == Waiting(count, worth)
        assert found.overdue_receivable.waiting == Waiting(unsure=count)
        assert found.cash_in.waiting == Waiting()
        [(moment,)] = rated.ask("SELECT min(valid_from) FROM totes.quarantine")
        past = payments.summary(reading, replace(november, as_of=moment))
        assert past.cash_in.waiting == Waiting(count, worth)
        assert past.receivable.waiting == Waiting()
    rated.change(
        "INSERT INTO currency VALUES (5, 'XQX', now(), now());"
        "UPDATE sales_order SET currency_id = 5 WHERE sales_order_id = 1"
    )
    rated.run()
    [(moment,)] = rated.ask("SELECT data_to FROM totes.freshness")
    with open_reading(warehouse.reader) as reading:
        revenue = sales.total(reading, november)
        assert revenue.waiting == Waiting(outdated=1, undetermined=1)
        assert (revenue.value, revenue.count) == (Decimal(500), 2)  # as it was before
    rated.change(
        "UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 5;"
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2"
    )
    rated.run()
    with open_reading(warehouse.reader) as reading:  # it has come into that past, too
        then = sales.total(reading, replace(november, as_of=moment))
        assert (then.count, then.waiting) == (2, Waiting())


@pytest.mark.slow
def test_a_refused_change_of_what_is_counted_is_not_missing(
    rated: Plant, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    may = november.within(date(2023, 5, 1), date(2023, 5, 31))
    refused = "UPDATE sales_order SET agreed_delivery_date = 'soon', {} WHERE sales_order_id = 1"
    rated.change(refused.format("units_sold = 300"))
    rated.run()
    [(moment,)] = rated.ask("SELECT data_to FROM totes.freshness")
    with open_reading(warehouse.reader) as reading:
        revenue = sales.total(reading, november)
        assert (revenue.value, revenue.count) == (Decimal(500), 2)
        assert revenue.waiting == Waiting(outdated=1, difference=Decimal(500))
        margin = overview.totals(reading, november).margin
        assert margin is not None
        assert margin.waiting == revenue.waiting
        assert sales.total(reading, may).waiting == Waiting()
    rated.change(refused.format("units_sold = 200, created_at = '2023-05-01'"))
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).waiting == Waiting(
            outdated=1, difference=Decimal(-250)
        )
        assert sales.total(reading, may).waiting == Waiting(1, Decimal(500))
        past = sales.total(reading, replace(november, as_of=moment))
        assert past.waiting == Waiting(outdated=1, difference=Decimal(500))
    rated.change(
        "UPDATE sales_order SET agreed_delivery_date = '2022-12-01', units_sold = 400"
        " WHERE sales_order_id = 1"
    )
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, may).waiting == Waiting()
        past = sales.total(reading, replace(november, as_of=moment))
        assert past.waiting == Waiting(outdated=1, difference=Decimal(500))
    rated.change(
        refused.format("sales_order_id = 2000000001, units_sold = 200")
    )  # another order, never seen before
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).waiting == Waiting()
        assert sales.total(reading, may).waiting == Waiting(1, Decimal(500))


@pytest.mark.slow
def test_the_past_is_converted_at_the_rates_that_were_known(
    rated: Plant, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30), reporting="EUR")
    with open_reading(warehouse.reader) as reading:
        then = sales.total(reading, november).value
        age = pipeline.rates_age(reading)
    [(newest,)] = rated.ask(
        "SELECT max(rate_date) FROM current_exchange_rate"
        " WHERE currency_code = 'USD' AND NOT carried_forward"
    )
    assert age == pipeline.RatesAge(newest, NOW, "ECB bundled")
    [(moment,)] = rated.ask("SELECT clock_timestamp()")
    rated.ask(
        "WITH old AS (UPDATE fact_exchange_rate SET valid_to = clock_timestamp()"
        " WHERE rate_date = '2022-11-07' AND currency_code = 'GBP' RETURNING *)"
        " INSERT INTO fact_exchange_rate (rate_id, rate_date, currency_code, rate, source,"
        " carried_forward, valid_from) SELECT rate_id, rate_date, currency_code, rate / 2, 'x',"
        " false, valid_to FROM old"
    )
    rated.ask(
        "UPDATE fact_exchange_rate SET source = 'x', carried_forward = false"
        f" WHERE rate_date = '{NOW}' AND currency_code = 'GBP'"
    )
    with open_reading(warehouse.reader) as reading:
        assert then is not None
        assert sales.total(reading, november).value == 2 * then
        past = replace(november, as_of=moment)
        assert sales.total(reading, past).value == then
        assert [*sales.rows(reading, past)["value"]] == [*sales.by(reading, past, "staff")["value"]]
        assert pipeline.rates_age(reading) == pipeline.RatesAge(NOW, NOW, "x")
        [(first,)] = rated.ask("SELECT min(captured_at) FROM totes.batches")
        before_rates = replace(november, as_of=first)  # then the first that were known are taken
        assert sales.total(reading, before_rates).value == then
    rated.ask("DELETE FROM fact_exchange_rate")
    with open_reading(warehouse.reader) as reading:
        assert pipeline.rates_age(reading, moment) == pipeline.RatesAge(None, None, None)


@pytest.mark.slow
def test_history_tells_what_changed_last(told: Plant, warehouse: EmptyWarehouse) -> None:
    with open_reading(warehouse.reader) as reading:
        assert history.recent(reading).empty
        nothing_there = history.versions(reading, "payment", 999)
        assert (nothing_there.versions, nothing_there.deleted_at) == ((), None)
    told.change("UPDATE payment SET paid = NOT paid WHERE payment_id = 2")
    told.run()
    told.change("UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2")
    told.change("DELETE FROM payment WHERE payment_id = 1")
    told.run()
    with open_reading(warehouse.reader) as reading:
        recent = history.recent(reading)
        assert recent[["kind", "key", "versions", "deleted"]].to_numpy().tolist() == [
            ["payment", 1, 1, True],
            ["payment", 2, 2, False],
        ]
        assert history.begins(reading) is not None
        [waiting] = history.versions(reading, "sales_order", 2).waiting
    assert (waiting.column, waiting.value) == ("agreed_delivery_date", "soon")
    assert "waits in quarantine" in str(waiting)


@pytest.mark.slow
def test_the_pipeline_tells_whether_it_can_be_trusted(
    told: Plant, warehouse: EmptyWarehouse
) -> None:
    with open_reading(warehouse.reader) as reading:
        fresh = pipeline.freshness(reading)
        assert fresh.lag_seconds is not None
        assert (fresh.verified_at, fresh.verified_equal) == (None, None)
        assert list(pipeline.batches(reading)["batch"]) == [1]
        assert pipeline.quarantine(reading).empty
    assert verify(told.pipeline).equal
    told.ask("UPDATE fact_sales_order SET units_sold = 7")
    with open_reading(warehouse.reader) as reading:
        fresh = pipeline.freshness(reading)
        assert fresh.verified_equal
        assert fresh.verified_at is not None
        assert fresh.verified_at <= fresh.now
    assert not verify(told.pipeline).equal
    told.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    told.run()
    with open_reading(warehouse.reader) as reading:
        assert pipeline.freshness(reading).verified_equal is False
        [waiting] = pipeline.quarantine(reading).to_dict("records")
        assert (waiting["star_table"], waiting["column_name"], waiting["rows"]) == (
            "fact_sales_order",
            "agreed_delivery_date",
            2,
        )
        assert list(pipeline.quarantine_rows(reading)["value"]) == ["soon", "soon"]
        assert pipeline.deleted_dimension_rows(reading).empty
        november = Filter(date(2022, 11, 1), date(2022, 11, 30))
        assert sales.total(reading, november).waiting == Waiting(
            outdated=2,
            difference=Decimal(500 - 35),  # of what somebody has altered above
        )
        later = november.within(date(2022, 11, 8), date(2022, 11, 8))
        assert sales.total(reading, later).waiting == Waiting()
    told.change("UPDATE sales_order SET agreed_delivery_date = '2022-12-01'")
    told.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).waiting == Waiting()
        assert pipeline.quarantine(reading).empty


# Before there is anything, and when there is nothing to be had.


def test_whole_numbers_and_texts_with_gaps_stay_what_they_are() -> None:
    frame = _frame(
        [(1, "a", None), (None, None, Decimal("0.10")), (2**53 + 1, "", None)], ["n", "t", "d"]
    )
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "object", "object"]
    assert frame.to_csv(index=False) == "n,t,d\n1,a,\n,,0.10\n9007199254740993,,\n"
    assert [*frame["t"]] == ["a", None, ""]
    assert list(_frame([], ["n"])) == ["n"]


def test_an_empty_warehouse_has_zeros_for_everything(warehouse: EmptyWarehouse) -> None:
    with open_reading(warehouse.reader) as reading:
        choices = metrics.choices(reading)
        assert (choices.currencies, choices.history_begins) == ((), None)
        assert choices.now == reading.now
        assert pipeline.rates_age(reading) == pipeline.RatesAge(None, None, None)
        chosen = Filter.of(choices)
        found = overview.totals(reading, chosen)
        assert found.margin == Total("Margin", Decimal(0))
        assert {found.revenue.value, found.payable.value} == {Decimal(0)}
        assert len(overview.over_time(reading, chosen)) == 30
        assert sales.by(reading, chosen, "country").empty
        assert sales.summary(reading, chosen).average_price is None
        assert purchases.rows(reading, chosen).empty
        assert payments.owed(reading, chosen).empty
        assert len(payments.ages(reading, chosen)) == 10
        assert history.begins(reading) is None
        assert pipeline.freshness(reading).lag_seconds is None


@pytest.mark.slow
def test_without_rates_only_the_currency_itself_is_summed_and_the_rest_counted(
    rated: Plant, warehouse: EmptyWarehouse
) -> None:
    rated.change("UPDATE sales_order SET currency_id = 2 WHERE sales_order_id = 2")
    rated.run()
    rated.ask("DELETE FROM fact_exchange_rate")
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        revenue = sales.total(reading, november)
        assert (revenue.value, revenue.count, revenue.unconverted) == (Decimal(250), 2, 1)
        [pounds, dollars] = sales.by(reading, november, "currency").to_dict("records")
        assert (dollars["own_value"], dollars["value"], dollars["unconverted"]) == (250, None, 1)
        assert (pounds["share"], dollars["share"], dollars["average_price"]) == (1, None, None)
        assert set(sales.rows(reading, november)["value"]) == {Decimal(250), None}
        foreign = replace(november, reporting="EUR")
        revenue = sales.total(reading, foreign)
        assert (revenue.value, revenue.unconverted, revenue.direction) == (None, 2, "unknown")
        found = overview.totals(reading, foreign)
        assert found.margin is not None
        assert (found.margin.value, found.receivable.value) == (None, None)
        for frame in (
            overview.over_time(reading, foreign),
            sales.top_designs(reading, foreign),
            sales.new_and_returning(reading, foreign),
            payments.ages(reading, foreign),
            payments.owed(reading, foreign),
        ):
            worth = (
                "value" if "value" in frame else "revenue" if "revenue" in frame else "receivable"
            )
            lacking = frame[frame["unconverted"] > 0]
            assert len(lacking), frame.columns
            assert set(lacking[worth]) - {Decimal(0)} == {None}
            assert set(frame[frame["unconverted"] == 0][worth]) <= {Decimal(0)}


@pytest.mark.bare
def test_what_is_wrong_with_the_warehouse_is_said(warehouse: EmptyWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"permission denied|totes warehouse migrate"):
        open_reading(warehouse.reader).__enter__()
    with pytest.raises(WarehouseAway, match="can't be reached"):
        open_reading(warehouse.reader.replace(host="/nowhere")).__enter__()


@pytest.mark.slow
def test_all_numbers_of_a_page_are_of_one_moment(told: Plant, warehouse: EmptyWarehouse) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        before = overview.totals(reading, november)
        told.change("UPDATE sales_order SET units_sold = 7")
        told.run()
        assert overview.totals(reading, november) == before
    with open_reading(warehouse.reader) as reading:
        assert overview.totals(reading, november) != before


@pytest.mark.slow
def test_a_rebuild_is_seen_whole_or_not_at_all(told: Plant, warehouse: EmptyWarehouse) -> None:
    def look() -> tuple[datetime | None, int]:
        with open_reading(warehouse.reader) as reading:
            fresh = pipeline.freshness(reading)
            return fresh.data_to, sales.total(reading, Filter(*lines.EVER)).count

    before = look()
    assert before[1] == 2
    asked: list[Future[tuple[datetime | None, int]]] = []

    def meanwhile() -> None:
        asked.append(pool.submit(look))
        while not told.ask("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not asked[0].done()

    with ThreadPoolExecutor(1) as pool:
        with at("rebuild.before-commit", meanwhile):
            list(replay(told.pipeline))
        assert asked[0].result() == before


@pytest.mark.slow
def test_a_page_and_a_rebuild_never_wait_for_each_other(
    told: Plant, warehouse: EmptyWarehouse
) -> None:
    """A page that has begun to read reads on; the rebuild waits for it, and then goes on."""
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with ThreadPoolExecutor(1) as pool:
        with open_reading(warehouse.reader) as reading:
            rebuilt = pool.submit(lambda: list(replay(told.pipeline)))
            while not told.ask("SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert not rebuilt.done()
            assert sales.total(reading, november).count == 2
        assert rebuilt.result()


@pytest.mark.slow
def test_an_older_warehouse_gets_the_totals_of_what_it_has(told: Plant) -> None:
    made = ", ".join(f"totes.{name}" for name in (*NAMES, "verifications"))
    indexes = told.ask(
        "SELECT string_agg(indexname, ', ') FROM pg_indexes WHERE schemaname = 'public' AND"
        " indexname ~ '_(created|due|open|late|begun|ended|currency|sale|purchase|reason)$'"
    )
    told.ask(f"DROP TABLE {made}")
    told.ask(f"DROP INDEX {indexes[0][0]}")
    told.ask("DELETE FROM totes.migrations WHERE name > '0004'")
    assert migrate(told.warehouse) == [
        "0004_daily.sql",
        "0005_payments_by_staff.sql",
        "0006_payments_due_at_once.sql",
    ]
    assert_totals_equal_the_facts(told.warehouse)
    for name in (
        "daily_payments",
        "daily_payments_by_staff",
        "daily_payments_by_staff_by_counterparty",
    ):
        assert told.ask(f"SELECT count(*) > 0 FROM totes.{name}") == [(True,)], name


# Nothing but reading.


@pytest.mark.slow
def test_a_page_can_not_write(told: Plant, warehouse: EmptyWarehouse) -> None:
    for dsn in (warehouse.reader, warehouse.dsn):
        for attempt in ("DELETE FROM fact_payment", "CREATE TABLE mine ()", "SELECT nextval('x')"):
            with open_reading(dsn) as reading, pytest.raises(psycopg.Error):
                reading._connection.execute(attempt.encode())
    assert told.ask("SELECT count(*) > 0 FROM fact_payment") == [(True,)]
    refuse_writers(warehouse.reader)
    with pytest.raises(UsageError, match="TOTES_DASHBOARD_DSN"):
        refuse_writers(warehouse.dsn)


GRANTS = (
    ("UPDATE (paid) ON fact_payment", "UPDATE (paid) ON fact_payment"),
    ("INSERT ON current_payment", "INSERT ON current_payment"),
    ("USAGE ON ALL SEQUENCES IN SCHEMA public", "ALL ON ALL SEQUENCES IN SCHEMA public"),
    ("CREATE ON SCHEMA totes", "CREATE ON SCHEMA totes"),
    ("pg_write_all_data", "pg_write_all_data"),
)


def test_whoever_may_write_anything_is_refused(warehouse: EmptyWarehouse) -> None:
    with psycopg.connect(warehouse.reader.reveal()) as connection:
        reader = connection.info.user
    with psycopg.connect(warehouse.admin.reveal(), autocommit=True) as connection:
        for grant, revoke in GRANTS:
            refuse_writers(warehouse.reader)
            connection.execute(f"GRANT {grant} TO {reader}".encode())
            try:
                with pytest.raises(UsageError, match=reader):
                    refuse_writers(warehouse.reader)
            finally:
                connection.execute(f"REVOKE {revoke} FROM {reader}".encode())
    refuse_writers(warehouse.reader)


HOSTILE = ("'; DROP TABLE fact_payment; --", "{source}", "%(since)s", "\\", '"', "$1", "%")


@pytest.mark.slow
@pytest.mark.usefixtures("told")
def test_hostile_values_are_values(warehouse: EmptyWarehouse) -> None:
    """Also past the check of the URL: they are bound."""
    chosen = Filter(date(2022, 11, 1), date(2022, 11, 30), HOSTILE, HOSTILE, HOSTILE)
    chosen = replace(chosen, reporting=HOSTILE[0])
    with open_reading(warehouse.reader) as reading:
        assert overview.totals(reading, chosen).revenue.value == 0
        assert sales.rows(reading, chosen).empty
        assert payments.rows(reading, chosen).empty
        assert purchases.by(reading, chosen, "item").empty


def test_queries_are_composed_of_names_and_bind_their_values() -> None:
    """SQL is in files, and only `reading` runs it; what composes it is constant."""
    package = Path(totes.dashboard.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            where = f"{path.name}:{node.lineno} {called}"
            if called.endswith((".execute", ".executemany", ".cursor")):
                assert path.name == "reading.py", where
                assert not isinstance(node.args[0], ast.JoinedStr | ast.BinOp), where
            if called == "sql.SQL" and path.name != "reading.py":
                assert isinstance(node.args[0], ast.Constant), where
            assert "Literal(" not in f"{called}(" or not called.startswith("sql"), where
    for query in (files("totes.dashboard") / "queries").iterdir():
        text = query.read_text(encoding="utf-8")
        assert text.startswith("-- "), query.name
        placed = set(re.findall(r"(?<!\{)\{(\w+)\}", text))
        assert placed <= PARTS, query.name
        assert not re.search(r"\bfact_(sales_order|purchase_order|payment)\b", text) or (
            query.name in OF_HISTORY
        ), query.name


PARTS = {
    *("sales_order", "purchase_order", "payment", "source", "lines", "rates", "converted"),
    *("members", "id", "ever", "sales", "purchases", "columns", "totals", "counterparty_id"),
    *("earlier", "whose", "kinds", "whole", "waiting", "only", "known"),
    *("begun", "ended", "true_now", "no_run_pays", "due_at_once", "currency_id", "rate_key"),
    *("narrowed", "factor", "chosen", "key", "order"),
    *("counterparty_name", "design_name", "staff_name", "name", "namesakes"),
    *("day", "made", "text"),
    *("quantity", "price", "place", "places", "place_id", "chosen_places", "staff"),
}
"""What queries are composed of: relations, columns and the names of a row's fields."""

OF_HISTORY = {
    "debts_over_time.sql",
    *("versions_of_sales_order.sql", "versions_of_purchase_order.sql"),
    *("versions_of_payment.sql", "recent.sql"),
    "part_payments_then.sql",
}
"""Queries that tell versions; the last has those that were true at a moment."""


# The data dictionary.


def test_every_column_has_a_meaning_and_the_facts_their_sources(warehouse: EmptyWarehouse) -> None:
    with open_reading(warehouse.reader) as reading:
        columns = dictionary.columns(reading)
        tables = dictionary.tables(reading)
    assert all(columns["meaning"]) and all(tables["meaning"])  # noqa: PT018  one statement
    sources = {(row["table"], row["column"]): row["sources"] for row in columns.to_dict("records")}
    assert sources["fact_sales_order", "created_date"] == ("sales_order.created_at",)
    assert sources["current_sales_order", "unit_price"] == ("sales_order.unit_price",)
    assert sources["dim_staff", "department_name"] == ("department.department_name",)
    assert sources["dim_counterparty", "counterparty_legal_city"] == ("address.city",)
    assert sources["dim_currency", "currency_name"] == ()
    assert sources["dim_date", "month"] == ()  # a calendar's
    assert all(re.fullmatch(r"\w+\.\w+", source) for found in sources.values() for source in found)
    assert set(tables["kind"]) == {"fact", "dimension", "view"}
    for star in STARS.values():
        for column in star.columns:
            if star.name not in {"dim_date", "dim_currency"}:
                assert sources[star.name, column.name], (star.name, column.name)


def test_the_star_diagrams_are_the_contracts() -> None:
    found = dictionary.star("Payments")
    assert found.fact == "fact_payment"
    assert dict(found.dimensions)["dim_date"] == (
        "created_date",
        "last_updated_date",
        "payment_date",
    )
    assert set(dictionary.FACTS) == {"Sales", "Purchases", "Payments"}
