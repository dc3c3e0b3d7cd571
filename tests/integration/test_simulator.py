"""The simulator: the live business's rules, its clock, its errors."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest
from database import fetch_rows
from hypothesis import given
from hypothesis import strategies as st
from simulated_business import DEAL, dump, empty, steps

from conftest import Fresh, Totesys
from totes.config.dsn import Dsn
from totes.demo.simulator import (
    HOSTILE,
    USUAL,
    Kind,
    Mix,
    Simulator,
    bulk,
    seed_reference,
    totesys_errors,
)
from totes.demo.simulator.business import SALE, ReferenceIds, plan_day, silent_change
from totes.errors import SourceError, UsageError

pytestmark = pytest.mark.few(5)


@pytest.fixture(scope="module", params=["driven", "bulk"])
def business(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[Totesys]:
    """A totesys after five weeks of the usual business, from the simulator or `bulk`; read-only."""
    with fresh() as totesys:
        if request.param == "bulk":
            bulk(totesys.owner, orders=600, seed=5)
        else:
            with Simulator(totesys.owner, seed=5) as simulator:
                steps(simulator, 900)
        yield totesys


RULES = {
    "an order, its transaction and its payment are created at the same millisecond": """
        SELECT * FROM deal JOIN "transaction" t USING (transaction_id)
        WHERE made <> t.created_at OR made <> payment_made OR t.last_updated <> t.created_at
    """,
    "a payment has the amount, currency, counterparty and date of its order": """
        SELECT * FROM deal
        WHERE payment_amount <> cost OR currency_id <> payment_currency
           OR counterparty_id <> payment_counterparty OR payment_date <> due
           OR payment_type_id <> CASE WHEN is_sale THEN 1 ELSE 3 END
    """,
    "orders are created from 08:00 to 18:59 on weekdays": """
        SELECT * FROM deal
        WHERE made::time NOT BETWEEN '08:00' AND '18:59:59.999' OR extract(isodow FROM made) > 5
    """,
    "a payment is paid if it was due on a past weekday after its day of creation": """
        SELECT * FROM deal JOIN payment USING (transaction_id)
        WHERE paid <> (
            due::date > made::date AND extract(isodow FROM due::date) < 6
            AND due::date + time '07:55:12' <= (SELECT max(last_updated) FROM payment)
        )
    """,
    "a payment is paid at 07:55:11 on its date, and updated at no other time": """
        SELECT * FROM payment
        WHERE CASE WHEN paid
            THEN date_trunc('second', last_updated) <> payment_date::date + time '07:55:11'
            ELSE last_updated <> created_at END
    """,
    "all payments of a day are paid at the same millisecond": """
        SELECT payment_date FROM payment WHERE paid
        GROUP BY payment_date HAVING count(DISTINCT last_updated) > 1
    """,
    "only payments change last_updated": """
        SELECT made FROM deal WHERE updated <> made
        UNION ALL SELECT created_at FROM design WHERE created_at <> last_updated
    """,
    "ids have no gaps": """
        SELECT max(sales_order_id) FROM sales_order HAVING max(sales_order_id) <> count(*)
        UNION ALL
        SELECT max(purchase_order_id) FROM purchase_order HAVING max(purchase_order_id) <> count(*)
        UNION ALL SELECT max(transaction_id) FROM deal HAVING max(transaction_id) <> count(*)
        UNION ALL SELECT max(payment_id) FROM payment HAVING max(payment_id) <> count(*)
        UNION ALL SELECT max(design_id) FROM design HAVING max(design_id) <> count(*)
    """,
    "sizes are those of the live totesys": """
        SELECT 1 FROM sales_order
        WHERE units_sold NOT BETWEEN 1001 AND 99973 OR unit_price NOT BETWEEN 2 AND 4
        UNION ALL SELECT 1 FROM purchase_order
        WHERE item_quantity NOT BETWEEN 1 AND 999 OR item_unit_price NOT BETWEEN 3 AND 1000
        UNION ALL SELECT 1 FROM currency WHERE currency_code NOT IN ('GBP', 'USD', 'EUR')
    """,
    "dates are yyyy-mm-dd": r"""
        SELECT due FROM deal WHERE due !~ '^\d{4}-\d\d-\d\d$' OR due <> due::date::text
    """,
}


def test_the_business_follows_every_rule_of_the_live_one(business: Totesys) -> None:
    with psycopg.connect(business.owner.reveal()) as connection:
        connection.execute(DEAL)
        ((deals,),) = connection.execute("SELECT count(*) FROM deal")
        ((orders,),) = connection.execute(
            "SELECT (SELECT count(*) FROM sales_order) + (SELECT count(*) FROM purchase_order)"
        )
        assert deals == orders > 700
        broken = {
            rule: rows
            for rule, query in RULES.items()
            if (rows := connection.execute(query).fetchall())
        }
    assert broken == {}


def test_many_payments_have_the_same_time_of_payment(business: Totesys) -> None:
    ((largest,),) = fetch_rows(
        business.dsn,
        "SELECT max(n) FROM (SELECT count(*) AS n FROM payment WHERE paid GROUP BY last_updated)",
    )
    assert int(str(largest)) > 10


def test_a_weekday_has_about_as_many_orders_as_in_the_live_totesys(business: Totesys) -> None:
    ((sales, purchases),) = fetch_rows(
        business.dsn,
        """
        SELECT (SELECT count(*) / count(DISTINCT created_at::date) FROM sales_order),
               (SELECT count(*) / count(DISTINCT created_at::date) FROM purchase_order)
        """,
    )
    assert 20 <= int(str(sales)) <= 30
    assert 7 <= int(str(purchases)) <= 13


def test_reference_rows_have_the_special_cases_of_the_live_totesys(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=1)
    rows = fetch_rows(
        totesys.dsn,
        """
        SELECT (SELECT count(*) FROM address WHERE address_line_2 IS NULL),
               (SELECT count(*) FROM address WHERE district IS NULL),
               (SELECT count(*) FROM address WHERE postal_code LIKE '0%') > 0,
               (SELECT count(*) FROM staff WHERE email_address LIKE '%''%@%') > 0,
               (SELECT count(*) FROM department WHERE location = 'Leds'),
               (SELECT count(*) FROM staff), (SELECT count(*) FROM counterparty)
        """,
    )
    assert rows == [(20, 14, True, True, 1, 20, 20)]


def test_some_item_codes_have_only_digits(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=100, purchases=1500)
    ((digits,),) = fetch_rows(
        totesys.dsn, r"SELECT count(*) FROM purchase_order WHERE item_code ~ '^\d{7}$'"
    )
    assert int(str(digits)) > 0


def test_the_same_seed_makes_the_same_changes(totesys: Totesys, tmp_path: Path) -> None:
    logs, dumps = [], []
    for number in range(2):
        log = tmp_path / f"{number}.jsonl"
        with Simulator(totesys.owner, seed=11, mix=HOSTILE, log=log) as simulator:
            steps(simulator, 200)
        logs.append(log.read_text())
        dumps.append(dump(totesys.dsn))
        empty(totesys)
    assert logs[0] == logs[1]
    assert dumps[0] == dumps[1]


def test_the_business_clock_starts_at_the_given_time_or_after_the_newest_order(
    totesys: Totesys,
) -> None:
    start = datetime(2026, 11, 21, 12, tzinfo=UTC).replace(tzinfo=None)  # a Saturday
    with Simulator(totesys.owner, seed=1, start=start) as simulator:
        first = simulator.step()
        last = steps(simulator, 50)[-1]
    assert first.at.date() == date(2026, 11, 23)
    with Simulator(totesys.owner, seed=2, mix={Kind.SALE: 25}) as simulator:
        assert last.at < simulator.step().at


SATURDAY_NIGHT = datetime(2026, 11, 21, 23, 30, tzinfo=UTC).replace(tzinfo=None)
MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).replace(tzinfo=None)


@pytest.mark.few(1)
@pytest.mark.parametrize("mix", [USUAL, HOSTILE], ids=["usual", "hostile"])
def test_events_are_planned_until_now_and_then_happen_at_the_time_of_the_clock(
    totesys: Totesys, mix: Mix
) -> None:
    """On a Monday at noon, after a weekend without events."""
    bulk(totesys.owner, orders=75, last_day=date(2026, 11, 20))
    with Simulator(totesys.owner, seed=1, mix=mix, clock=lambda: MONDAY_NOON) as simulator:
        events = steps(simulator, 1_000)
    planned = [event for event in events if event.at < MONDAY_NOON]
    assert 10 < len(planned) < 100
    assert all(event.at.isoweekday() < 6 and 7 <= event.at.hour <= 18 for event in planned)
    assert {event.at for event in events[200:] if event.kind is not Kind.LATE} == {MONDAY_NOON}
    [paid] = [event for event in events if event.kind is Kind.PAY]
    assert paid.at.strftime("%a %H:%M:%S") == "Mon 07:55:11"
    assert {event.kind for event in events} == {*(kind for kind in mix if mix[kind]), Kind.PAY}
    ((newest,),) = fetch_rows(totesys.dsn, "SELECT max(last_updated) FROM payment")
    assert newest == MONDAY_NOON


def test_payments_are_made_once_on_each_weekday_of_the_clock(totesys: Totesys) -> None:
    """Before orders; not at the weekend."""
    bulk(totesys.owner, orders=300, last_day=date(2026, 11, 20))
    now, days = SATURDAY_NIGHT, []
    with Simulator(totesys.owner, seed=1, clock=lambda: now) as simulator:
        for passed in (timedelta(), timedelta(hours=25), timedelta(days=1)):
            now += passed
            days.append(steps(simulator, 100))
    with Simulator(totesys.owner, seed=2, clock=lambda: now) as simulator:
        days.append(steps(simulator, 100))
    runs = [[n for n, event in enumerate(day) if event.kind is Kind.PAY] for day in days]
    assert runs == [[], [0], [0], []]
    assert days[1][0].at == SATURDAY_NIGHT + timedelta(hours=25)
    assert len(days[1][0].changes) > 5


def test_without_orders_the_business_begins_at_the_time_of_the_clock(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=1, clock=lambda: MONDAY_NOON) as simulator:
        assert {event.at for event in steps(simulator, 50)} == {MONDAY_NOON}


def test_a_run_ends_before_the_first_event_that_is_planned_later(totesys: Totesys) -> None:
    """The next run begins with that event; the events are those of a run without an end."""
    start = datetime(2026, 11, 19, tzinfo=UTC).replace(tzinfo=None)
    with Simulator(totesys.owner, seed=1, mix=HOSTILE, start=start) as simulator:
        expected = steps(simulator, 60)
    empty(totesys)
    with Simulator(totesys.owner, seed=1, mix=HOSTILE, start=start) as simulator:
        noon = start + timedelta(hours=12)
        events = list(simulator.run(until=noon))
        assert 5 < len(events) < 55
        assert all(event.at < noon for event in events)
        assert list(simulator.run(until=noon)) == []
        events += steps(simulator, 60 - len(events))
    assert events == expected


def test_the_simulator_stops_at_the_stop_event_and_at_the_end_of_its_time(totesys: Totesys) -> None:
    stop = threading.Event()
    with Simulator(totesys.owner, seed=1) as simulator:
        for number, _ in enumerate(simulator.run(stop=stop), start=1):
            if number == 5:
                stop.set()
        assert number == 5
        assert len(list(simulator.run(rate=100, seconds=0.05))) <= 6  # at 0, 10 … 50 ms
        assert list(simulator.run(rate=0.001, seconds=0)) == []


def test_a_totesys_that_cannot_be_reached_is_one_message() -> None:
    with pytest.raises(SourceError, match="The source /nowhere/totesys can't be reached"):
        Simulator(Dsn("host=/nowhere dbname=totesys"), seed=1)


def test_a_totesys_without_the_privilege_to_write_is_one_message(totesys: Totesys) -> None:
    with (
        pytest.raises(
            SourceError, match=r"permission denied for .* a role with the privilege to write"
        ),
        totesys_errors(totesys.dsn),
        Simulator(totesys.dsn, seed=1) as simulator,
    ):
        simulator.step()


def test_a_log_that_cannot_be_written_is_an_error_before_the_first_event(
    totesys: Totesys, tmp_path: Path
) -> None:
    before = dump(totesys.dsn)
    with pytest.raises(UsageError, match=r"log can't be written: No such file or directory\."):
        Simulator(totesys.owner, seed=1, log=tmp_path / "none" / "log")
    assert dump(totesys.dsn) == before


def test_events_with_nothing_to_change_are_skipped(totesys: Totesys) -> None:
    mix = {Kind.SILENT: 25, Kind.CORRECT: 25, Kind.CANCEL: 25, Kind.CURRENCY: 25}
    with Simulator(totesys.owner, seed=1, mix=mix) as simulator:
        kinds = {event.kind for event in steps(simulator, 40)}
        with psycopg.connect(totesys.owner.reveal()) as connection:
            connection.execute(
                "INSERT INTO sales_order SELECT 1, now(), now(), 1, 1, 1, 1, 1, 1, '', '', 1;"
                "INSERT INTO purchase_order SELECT 1, now(), now(), 1, 1, '', 1, 1, 1, '', '', 1"
            )
        kinds |= {event.kind for event in steps(simulator, 40)}
    assert kinds == {Kind.SILENT, Kind.CURRENCY}
    assert len(fetch_rows(totesys.dsn, "TABLE currency")) == 13


def test_a_design_in_use_is_never_retired(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=1)
        connection.execute("DELETE FROM design WHERE design_id > 3")
    mix = {Kind.RETIRE: 5, Kind.LATE: 5, Kind.SALE: 5}
    with Simulator(totesys.owner, seed=1, mix=mix) as simulator:
        steps(simulator, 100)
    assert fetch_rows(totesys.dsn, "SELECT count(*) > 0 FROM design") == [(True,)]


WEEKDAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1))


@given(seed=st.integers(0), day=WEEKDAYS)
def test_the_events_of_a_day_are_in_order_and_in_office_hours(seed: int, day: date) -> None:
    events = plan_day(Random(seed), day, USUAL)  # noqa: S311
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert bool(events) == (day.isoweekday() < 6)
    for event in events:
        assert event.at.date() == day
        if event.kind is Kind.PAY:
            assert event.at.strftime("%H:%M:%S") == "07:55:11"
        else:
            assert 8 <= event.at.hour <= 18
        assert event.at.microsecond % 1000 == 0


@given(seed=st.integers(0))
def test_a_silent_change_changes_every_value_it_returns(seed: int) -> None:
    reference_ids = ReferenceIds((1, 2), (1, 2), (1,), (1, 2), (1,), {1: "GBP"})
    row = {
        "created_at": datetime(2024, 2, 29, tzinfo=UTC),
        "staff_id": 1,
        "design_id": 2,
        "agreed_delivery_date": "2024-03-01",
        "agreed_delivery_location_id": 2,
    }
    change = silent_change(Random(seed), SALE, row, reference_ids)  # noqa: S311
    assert change
    assert all(row[column] != value for column, value in change.items())


PLAUSIBLE_OPEN_PAYMENTS = """
    SELECT count(*) FILTER (WHERE payment_date::date < made::date) BETWEEN 1 AND count(*) / 2,
           count(*) FILTER (WHERE payment_date::date < made::date - 60) = 0
    FROM payment, (SELECT max(created_at) AS made FROM "transaction") AS newest
    WHERE NOT paid
"""
"""Some open payments are overdue, less than half of them, and none for more than sixty days."""


def test_most_late_payments_are_settled(totesys: Totesys) -> None:
    """By `bulk` and by the simulator; payment dates are past weekdays."""
    bulk(totesys.owner, orders=1_000, settled=True)
    assert fetch_rows(totesys.dsn, PLAUSIBLE_OPEN_PAYMENTS) == [(True, True)]
    with Simulator(totesys.owner, seed=1, mix={**USUAL, Kind.SETTLE: 2}) as simulator:
        events = steps(simulator, 800)
    assert any(event.kind is Kind.SETTLE and event.changes for event in events)
    assert fetch_rows(totesys.dsn, PLAUSIBLE_OPEN_PAYMENTS) == [(True, True)]
    assert not fetch_rows(
        totesys.dsn,
        """
        SELECT payment_id
        FROM payment, (SELECT max(created_at) AS made FROM "transaction") AS newest
        WHERE paid AND (extract(isodow FROM payment_date::date) > 5 OR payment_date::date > made)
        """,
    )


def test_a_brief_change_is_committed_and_changed_back(totesys: Totesys, tmp_path: Path) -> None:
    bulk(totesys.owner, orders=20, seed=1)
    orders = "SELECT * FROM sales_order ORDER BY sales_order_id"
    before = fetch_rows(totesys.dsn, orders)
    log = tmp_path / "log"
    with Simulator(totesys.owner, seed=1, mix={Kind.BRIEF: 5}, log=log) as simulator:
        events = (simulator.step() for _ in range(20))
        event = next(event for event in events if event.kind is Kind.BRIEF)
    assert event.text.endswith(", and changed it back")
    assert fetch_rows(totesys.dsn, orders) == before
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first, second = (line["changes"][0]["row"] for line in lines if line["kind"] == "brief")
    assert first["sales_order_id"] == second["sales_order_id"] == event.key
    assert first != second
    assert first["last_updated"] == second["last_updated"]


def test_a_brief_change_needs_a_sale(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=1, mix={Kind.BRIEF: 5, Kind.SALE: 1}) as simulator:
        first = next(e for e in iter(simulator.step, None) if e.kind in {Kind.BRIEF, Kind.SALE})
    assert first.kind is Kind.SALE
