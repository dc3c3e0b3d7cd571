"""The dashboard's numbers are the sums over valid rows, in one currency.

A small business has random inserts, updates, deletes, refunds, rejected and released rows. After
each batch, each metric is compared with `metrics_oracle.py` for random filters, now and as of a
drawn capture (as of each one when DEEP).
"""

from dataclasses import dataclass, replace
from datetime import datetime

import pytest
from depth import drawn, sample, seeded_random
from installation import Installation
from metrics_comparison import (
    compare,
    compare_debts,
    compare_history,
    compare_payments,
    without_rejected,
)
from metrics_oracle import (
    Facts,
    MetricsOracle,
    current_facts,
    facts_at,
)
from random_business import DAY, KENYA, NOW, RandomBusiness
from replicas import open_reading

from conftest import EmptyWarehouse
from totes.dashboard import metrics
from totes.dashboard.metrics import (
    debts,
)

STEPS = drawn(3, 6)
FILTERS = drawn(1, 3)
"""How many random filters each state of the warehouse is compared with."""


@dataclass(frozen=True)
class Moment:
    """The facts at a capture."""

    captured_at: datetime
    facts: Facts


def test_every_number_is_the_sum_over_the_rows_that_are_true(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    chance = seeded_random()
    installation = installation.add_orders(40).with_rates()
    installation.change(KENYA)
    business = RandomBusiness(installation, chance)
    moments = []
    for step in range(STEPS):
        if step:
            business.step()
        installation.run()
        if step == STEPS - 1:
            installation.totes("quarantine", "release")
        [(captured_at,)] = installation.query("SELECT data_to FROM totes.freshness")
        moments.append(Moment(captured_at, current_facts(installation.warehouse)))
        with open_reading(warehouse.reader) as reading:
            choices = metrics.choices(reading)
            [(known_to,)] = installation.query(
                "SELECT greatest(data_to, checked_at) FROM totes.freshness"
            )
            oracle = MetricsOracle(installation.warehouse, moments[-1].facts, known_to)
            assert choices.today == oracle.today
            assert choices.first_day == oracle.first_day
            for _ in range(FILTERS):
                compare(reading, business.filter(choices), oracle)
            departments = tuple(chance.sample(choices.departments, 2))
            compare_payments(
                reading, replace(business.filter(choices), departments=departments), oracle
            )
    compared = sample(1, moments, "as of")
    with open_reading(warehouse.reader) as reading:
        for moment in moments:
            facts = facts_at(installation.warehouse, moment.captured_at)
            assert without_rejected(facts, installation) == without_rejected(
                moment.facts, installation
            )
            oracle = MetricsOracle(
                installation.warehouse, facts, moment.captured_at, moment.captured_at
            )
            choices = metrics.choices(reading, moment.captured_at)
            assert (choices.today, choices.history_begins) == (
                oracle.today,
                moments[0].captured_at,
            )
            for _ in range(FILTERS if moment in compared else 0):
                criteria = replace(business.filter(choices), as_of=moment.captured_at)
                compare(reading, criteria, oracle)
    with open_reading(warehouse.reader) as reading, pytest.MonkeyPatch.context() as patched:
        patched.setattr(debts, "STEPS", 4)
        begins = moments[0].captured_at
        criteria = replace(business.filter(metrics.choices(reading)), since=NOW - DAY, until=NOW)
        assert debts.over_time(reading, criteria)["at"][0] == begins
        assert len(debts.over_time(reading, criteria)) == 5
        compare_debts(
            reading, criteria, [begins.date() + DAY * day for day in (0, 1)], installation
        )
    compare_history(business, [moment.captured_at for moment in moments], warehouse)
