"""Goals on the overview, events in charts, and the definitions of metrics."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from dashboard_page import open_page, tables_of, words
from hypothesis import given
from hypothesis import strategies as st
from installation import Installation
from replicas import open_reading, replica_of
from sample_business import SampleBusiness

from conftest import EmptyWarehouse
from totes.dashboard import goals, metrics, text
from totes.dashboard.components import annotations
from totes.dashboard.config_file import Goal
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import sales
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.server.backends import Backends, set_backends
from totes.lake.folder import FolderStore
from totes.stages.replay import replay

pytestmark = pytest.mark.few(3)


def test_a_goal_shows_what_is_reached_and_how_many_working_days_have_passed(
    business: SampleBusiness,
) -> None:
    targets = (
        Goal.model_validate({"metric": "revenue", "target": 10**9, "per": "year"}),
        Goal.model_validate({"metric": "units", "target": 7, "per": "month", "in": "USD"}),
    )
    looked = open_page(replace(business.backends, goals=targets))
    revenue, units = (bar.proto.text for bar in looked.get("progress"))
    with open_reading(business.reader) as reading:
        today = metrics.choices(reading).today
        this_year = Filter(date(today.year, 1, 1), today)
        value = sales.total(reading, this_year).value
    shown = text.money(value, "GBP")
    assert f"31 Dec {today.year}: {shown} of £1.000bn" in revenue
    assert f"{this_year.working_days} of " in revenue
    assert value is not None
    whole = Filter(date(today.year, 1, 1), date(today.year, 12, 31))
    pace = value * whole.working_days / this_year.working_days
    assert f"At this pace: {text.money(pace, 'GBP')} (" in revenue
    assert units.startswith("**Units**, 1 ")
    assert "At this pace" not in units
    assert " of 7 (" in units
    assert not open_page(business.backends).get("progress")
    narrowed = open_page(replace(business.backends, goals=targets), currency="GBP")
    assert revenue in [bar.proto.text for bar in narrowed.get("progress")]
    assert "Goals include all rows, regardless of the filters." in words(narrowed)


@given(
    day=st.dates(date(1901, 1, 1), date(2199, 1, 1)),
    per=st.sampled_from(["week", "month", "quarter", "year"]),
)
def test_the_periods_of_a_goal_follow_each_other(day: date, per: str) -> None:
    since, until = goals._period(day, per)
    assert since <= day <= until
    assert goals._period(since, per) == goals._period(until, per) == (since, until)
    assert goals._period(until + timedelta(days=1), per)[0] == until + timedelta(days=1)


def test_a_period_is_compared_per_working_day(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    """Nine days from a Monday have seven working days, the nine days before have five."""
    two_sales.change("UPDATE sales_order SET created_at = '2022-11-05' WHERE sales_order_id = 1")
    two_sales.change("UPDATE sales_order SET created_at = '2022-11-22' WHERE sales_order_id = 2")
    two_sales.run()
    days = Filter(date(2022, 11, 14), date(2022, 11, 22))
    with open_reading(warehouse.reader) as reading:
        found = sales.total(reading, replace(days, compare="previous-per-working-day"))
        assert found.value == found.before == Decimal(250)
        assert found.scale == Fraction(7, 5)
        assert Fraction(found.change or 0).limit_denominator(99) == Fraction(-2, 7)
        assert sales.total(reading, replace(days, compare="previous")).change == 0
        compared = metrics.comparison(reading, replace(days, compare="last-year"))
        assert compared is None  # the data begins later
        short = Filter(date(2022, 11, 21), date(2022, 11, 22), compare="previous-per-working-day")
        assert sales.total(reading, short).scale == 1


@pytest.fixture
def sources(two_sales: Installation, warehouse: EmptyWarehouse) -> Iterator[Backends]:
    made = Backends(replica_of(warehouse.reader), FolderStore(two_sales.ingestion))
    set_backends(made)
    annotations._annotations.cache_clear()
    yield made
    annotations._annotations.cache_clear()


def test_charts_mark_schema_changes_replays_and_mass_deletions(
    two_sales: Installation,
    warehouse: EmptyWarehouse,
    sources: Backends,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def events() -> list[str]:
        annotations._annotations.cache_clear()
        with open_reading(warehouse.reader) as reading:
            return [one.event for one in annotations.annotations(reading)]

    assert events() == []
    two_sales.change("UPDATE payment SET payment_amount = payment_amount + 1")
    two_sales.change("DELETE FROM payment WHERE payment_id = 1")
    two_sales.run()
    assert events() == []  # one row is no mass deletion
    monkeypatch.setattr(annotations, "MASS_DELETION_ROWS", 1)
    two_sales.change("ALTER TABLE design ADD COLUMN fabric text")
    two_sales.change("UPDATE design SET last_updated = last_updated + interval '1 s'")
    two_sales.run()
    assert events() == [
        "1 payment deleted",
        "schema change of design: fabric added (text)",
    ]
    for _ in replay(two_sales.pipeline):
        pass
    assert "replay of all batches" in events()
    assert len(events()) == 3
    broken = replace(sources, ingestion=FolderStore(two_sales.ingestion / "missing"))
    set_backends(broken)
    assert len(events()) == 2  # a source that does not answer only lacks its events


def test_the_dictionary_defines_each_metric(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "dictionary", metric="margin")
    table = next(frame for frame in tables_of(looked) if "formula" in frame)
    assert list(table["metric"]) == [metric.label for metric in METRICS.values()]
    assert looked.code[0].value == METRICS["margin"].sql
    card = next(one for one in open_page(business.backends).metric if one.label == "Margin")
    assert METRICS["margin"].formula in card.help
    assert not open_page(business.backends, "dictionary").code
    assert "Ignored “metric”" in words(open_page(business.backends, "dictionary", metric="moon"))
