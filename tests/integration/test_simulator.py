"""The simulated business keeps the live one's rules, and a seed is a history."""

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from source_audit import TABLES

from conftest import Fresh, Totesys
from totes.config.settings import Dsn
from totes.demo.simulator import (
    HOSTILE,
    USUAL,
    Event,
    Kind,
    Simulator,
    bulk,
    reported,
    seed_reference,
)
from totes.demo.simulator.business import SALE, Known, plan, silent_change
from totes.errors import SourceError, UsageError


def ask(dsn: Dsn, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn.reveal()) as connection:
        return connection.execute(query).fetchall()


type Tables = dict[str, dict[int, object]]


def dump(dsn: Dsn) -> Tables:
    """Every row of every table, by table and id; numbers as their text."""
    return {
        table: {
            int(str(key)): json.loads(str(row), parse_float=str)
            for key, row in ask(
                dsn, f'SELECT {table}_id, row_to_json(t)::text FROM "{table}" AS t ORDER BY 1'
            )
        }
        for table in TABLES
    }


def steps(simulator: Simulator, number: int) -> list[Event]:
    return [simulator.step() for _ in range(number)]


@pytest.fixture(scope="module", params=["driven", "bulk"])
def business(request: pytest.FixtureRequest, fresh: Fresh) -> Iterator[Totesys]:
    """A totesys after five weeks of the usual business, both ways of making it; only to read."""
    with fresh() as totesys:
        if request.param == "bulk":
            bulk(totesys.owner, orders=600, seed=5)
        else:
            with Simulator(totesys.owner, seed=5) as simulator:
                steps(simulator, 900)
        yield totesys


@dataclass(frozen=True)
class Hostile:
    """A business at its worst: what was there first, and what it said and logged since."""

    dsn: Dsn
    owner: Dsn
    before: Tables
    log: Path
    events: list[Event]


@pytest.fixture(scope="module")
def hostile(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """700 steps of it; only to read."""
    log = tmp_path_factory.mktemp("hostile") / "committed.jsonl"
    with fresh() as totesys:
        with psycopg.connect(totesys.owner.reveal()) as connection:
            seed_reference(connection, seed=2)
        before = dump(totesys.dsn)
        with Simulator(totesys.owner, seed=2, mix=HOSTILE, log=log) as simulator:
            events = steps(simulator, 700)
            events += simulator.finish()
        yield Hostile(totesys.dsn, totesys.owner, before, log, events)


RULES = {
    "an order, its transaction and its payment are made in one millisecond": """
        SELECT * FROM deal JOIN "transaction" t USING (transaction_id)
        WHERE made <> t.created_at OR made <> payment_made OR t.last_updated <> t.created_at
    """,
    "a payment is what its order says": """
        SELECT * FROM deal
        WHERE payment_amount <> cost OR currency_id <> payment_currency
           OR counterparty_id <> payment_counterparty OR payment_date <> due
           OR payment_type_id <> CASE WHEN is_sale THEN 1 ELSE 3 END
    """,
    "orders are made from 08:00 to 18:59 on weekdays": """
        SELECT * FROM deal
        WHERE made::time NOT BETWEEN '08:00' AND '18:59:59.999' OR extract(isodow FROM made) > 5
    """,
    "paid is what was due on a weekday after its day of creation, and that day has come": """
        SELECT * FROM deal JOIN payment USING (transaction_id)
        WHERE paid <> (
            due::date > made::date AND extract(isodow FROM due::date) < 6
            AND due::date + time '07:55:12' <= (SELECT max(last_updated) FROM payment)
        )
    """,
    "a payment is settled at 07:55:11 on its date, and touched at no other time": """
        SELECT * FROM payment
        WHERE CASE WHEN paid
            THEN date_trunc('second', last_updated) <> payment_date::date + time '07:55:11'
            ELSE last_updated <> created_at END
    """,
    "all of a day is settled in one millisecond": """
        SELECT payment_date FROM payment WHERE paid
        GROUP BY payment_date HAVING count(DISTINCT last_updated) > 1
    """,
    "nothing but a payment moves last_updated": """
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
    "sizes are those seen live": """
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

DEAL = """
    CREATE TEMPORARY VIEW deal AS
    SELECT transaction_id, o.*, p.payment_amount, p.currency_id AS payment_currency,
           p.counterparty_id AS payment_counterparty, p.payment_date, p.payment_type_id,
           p.created_at AS payment_made
    FROM (
        SELECT true AS is_sale, sales_order_id, NULL::int AS purchase_order_id,
               created_at AS made, last_updated AS updated, units_sold * unit_price AS cost,
               currency_id, counterparty_id, agreed_payment_date AS due
        FROM sales_order
        UNION ALL
        SELECT false, NULL, purchase_order_id, created_at, last_updated,
               item_quantity * item_unit_price, currency_id, counterparty_id, agreed_payment_date
        FROM purchase_order
    ) AS o
    JOIN "transaction" t ON t.sales_order_id = o.sales_order_id
                         OR t.purchase_order_id = o.purchase_order_id
    JOIN payment p USING (transaction_id)
"""


def test_the_business_keeps_every_rule_of_the_live_one(business: Totesys) -> None:
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


def test_payments_are_settled_in_ties(business: Totesys) -> None:
    ((largest,),) = ask(
        business.dsn,
        "SELECT max(n) FROM (SELECT count(*) AS n FROM payment WHERE paid GROUP BY last_updated)",
    )
    assert int(str(largest)) > 10


def test_weekdays_have_about_the_live_number_of_orders(business: Totesys) -> None:
    ((sales, purchases),) = ask(
        business.dsn,
        """
        SELECT (SELECT count(*) / count(DISTINCT created_at::date) FROM sales_order),
               (SELECT count(*) / count(DISTINCT created_at::date) FROM purchase_order)
        """,
    )
    assert 20 <= int(str(sales)) <= 30
    assert 7 <= int(str(purchases)) <= 13


def test_reference_rows_have_the_live_ones_peculiarities(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=1)
    rows = ask(
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


def test_some_item_codes_are_all_digits(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=100, purchases=1500)
    ((digits,),) = ask(
        totesys.dsn, r"SELECT count(*) FROM purchase_order WHERE item_code ~ '^\d{7}$'"
    )
    assert int(str(digits)) > 0


def test_one_seed_makes_one_history(totesys: Totesys, tmp_path: Path) -> None:
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


def test_one_seed_fills_one_bulk_and_another_seed_another(totesys: Totesys) -> None:
    dumps = []
    for seed in (3, 3, 4):
        bulk(totesys.owner, orders=50, seed=seed)
        dumps.append(dump(totesys.dsn))
        empty(totesys)
    assert dumps[0] == dumps[1]
    assert dumps[0] != dumps[2]


def empty(totesys: Totesys) -> None:
    names = ", ".join(f'"{table}"' for table in TABLES)
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY")


def test_bulk_leaves_constraints_and_sequences_as_they_were(totesys: Totesys) -> None:
    query = """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """
    before = ask(totesys.dsn, query)
    bulk(totesys.owner, orders=10, purchases=4)
    assert ask(totesys.dsn, query) == before
    with Simulator(totesys.owner, seed=1, mix={Kind.SALE: 25}) as simulator:
        sales = (event for event in simulator.run() if event.kind is Kind.SALE)
        assert next(sales).changes[0].key == 11
    assert ask(totesys.dsn, "SELECT max(transaction_id), max(payment_id) FROM payment") == [
        (15, 15)
    ]


def test_a_filling_that_was_interrupted_can_be_repeated(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=3)
        connection.rollback()
    bulk(totesys.owner, orders=50, seed=3)
    assert ask(totesys.dsn, "SELECT min(address_id), min(staff_id) FROM address, staff") == [(1, 1)]


def test_a_totesys_with_text_instead_of_enums_can_be_filled_and_driven(totesys: Totesys) -> None:
    columns = {"transaction": "transaction_type", "payment_type": "payment_type_name"}
    with psycopg.connect(totesys.owner.reveal()) as connection:
        for table, column in columns.items():
            connection.execute(
                sql.SQL("ALTER TABLE {} ALTER {} TYPE text").format(
                    sql.Identifier(table), sql.Identifier(column)
                )
            )
        connection.execute('DROP TYPE "TransactionType"')
    bulk(totesys.owner, orders=10)
    with Simulator(totesys.owner, seed=1, mix=HOSTILE) as simulator:
        assert len(steps(simulator, 50)) == 50
    kinds = ask(totesys.dsn, 'SELECT DISTINCT transaction_type FROM "transaction" ORDER BY 1')
    assert kinds == [("PURCHASE",), ("SALE",)]


def test_bulk_refuses_a_totesys_with_orders(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=1)
    before = dump(totesys.dsn)
    with pytest.raises(UsageError, match="has orders already"):
        bulk(totesys.owner, orders=1)
    assert dump(totesys.dsn) == before


def test_bulk_begins_on_the_monday_it_is_told_about(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=70, first_day=date(2026, 9, 2))
    assert ask(totesys.dsn, 'SELECT min(created_at)::date::text FROM "transaction"') == [
        ("2026-08-31",)
    ]


def test_every_kind_of_the_hostile_mix_happens(hostile: Hostile) -> None:
    events = hostile.events
    happened = Counter(event.kind for event in events if event.changes)
    assert set(happened) == set(Kind) - {Kind.ROLLBACK}
    assert any(event.kind is Kind.ROLLBACK for event in events)
    opened = sum(event.kind is Kind.LATE and not event.changes for event in events)
    assert opened == happened[Kind.LATE]
    assert ask(hostile.dsn, "SELECT 1 FROM payment WHERE payment_type_id IN (2, 4) LIMIT 1")
    assert ask(
        hostile.dsn,
        'SELECT 1 FROM "transaction" WHERE coalesce(sales_order_id, purchase_order_id) IS NULL',
    )
    assert ask(
        hostile.dsn, r"SELECT 1 FROM counterparty WHERE counterparty_legal_name ~ '[^\x01-\x7f]'"
    )


def test_hostile_payments_still_equal_quantity_times_price(hostile: Hostile) -> None:
    with psycopg.connect(hostile.owner.reveal()) as connection:
        connection.execute(DEAL)
        ((deals,),) = connection.execute("SELECT count(*) FROM deal")
        wrong = connection.execute("SELECT * FROM deal WHERE payment_amount <> cost").fetchall()
    assert deals > 100
    assert wrong == []


def test_the_log_replayed_is_the_database(hostile: Hostile) -> None:
    replayed = {table: dict(rows) for table, rows in hostile.before.items()}
    for line in hostile.log.read_text().splitlines():
        for change in json.loads(line, parse_float=str)["changes"]:
            rows = replayed[change["table"]]
            if change["row"] is None:
                del rows[change["key"]]
            else:
                rows[change["key"]] = change["row"]
    assert replayed == dump(hostile.dsn)


def silent_updates(before: dict[int, object], after: dict[int, object]) -> Iterable[set[str]]:
    """Which columns of a row changed, for each row that did."""
    for key, old in before.items():
        new = after[key]
        assert isinstance(old, dict)
        assert isinstance(new, dict)
        if old != new:
            yield {column for column in old if old[column] != new[column]}


def test_silent_updates_change_the_listed_columns_and_nothing_else(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=200, seed=1)
    before = dump(totesys.dsn)
    with Simulator(totesys.owner, seed=1, mix={Kind.SILENT: 50}) as simulator:
        events = [event for event in steps(simulator, 300) if event.kind is Kind.SILENT]
    after = dump(totesys.dsn)
    assert len(events) > 200
    listed = {
        "sales_order": {
            "staff_id",
            "design_id",
            "agreed_delivery_date",
            "agreed_delivery_location_id",
        },
        "purchase_order": {
            "staff_id",
            "item_code",
            "agreed_delivery_date",
            "agreed_delivery_location_id",
        },
        "design": {"file_location"},
    }
    for table, columns in listed.items():
        changed = set().union(*silent_updates(before[table], after[table]))
        assert changed == columns, table
    for table in set(TABLES) - set(listed) - {"payment"}:
        assert before[table] == after[table]


def test_a_late_transaction_commits_after_younger_ones(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=4, mix={Kind.LATE: 2, Kind.SALE: 25}) as simulator:
        events = steps(simulator, 200)
    orders = [event.key or 0 for event in events if event.table == "sales_order"]
    assert orders != sorted(orders)
    assert len(set(orders)) == len(orders)


def test_closing_commits_what_is_open_and_logs_it(totesys: Totesys, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Simulator(totesys.owner, seed=4, mix={Kind.LATE: 25}, log=log) as simulator:
        assert [event.text.rsplit(", ")[-1] for event in steps(simulator, 3)] == ["still open"] * 3
        assert ask(totesys.dsn, "SELECT count(*) FROM sales_order") == [(0,)]
        assert simulator.step().key == 1  # there is no place for a fourth
    ((orders,),) = ask(totesys.dsn, "SELECT count(*) FROM sales_order")
    assert orders == len(log.read_text().splitlines()) == 3


def test_an_event_tells_what_it_touched_first(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=1, mix={Kind.SALE: 25}) as simulator:
        event = next(event for event in simulator.run() if event.kind is Kind.SALE)
    assert (event.table, event.key) == ("sales_order", 1)
    assert [change.table for change in event.changes] == ["sales_order", "transaction", "payment"]
    with Simulator(totesys.owner, seed=1, mix={Kind.ROLLBACK: 25}) as simulator:
        event = simulator.step()
    assert (event.table, event.key, event.changes) == (None, None, ())


def test_the_business_clock_starts_where_it_is_told_or_goes_on(totesys: Totesys) -> None:
    start = datetime(2026, 11, 21, 12, tzinfo=UTC).replace(tzinfo=None)  # a Saturday
    with Simulator(totesys.owner, seed=1, start=start) as simulator:
        first = simulator.step()
        last = steps(simulator, 50)[-1]
    assert first.at.date() == date(2026, 11, 23)
    with Simulator(totesys.owner, seed=2, mix={Kind.SALE: 25}) as simulator:
        assert last.at < simulator.step().at


def test_it_stops_when_told_and_when_the_time_is_over(totesys: Totesys) -> None:
    stop = threading.Event()
    with Simulator(totesys.owner, seed=1) as simulator:
        for number, _ in enumerate(simulator.run(stop=stop), start=1):
            if number == 5:
                stop.set()
        assert number == 5
        assert len(list(simulator.run(rate=100, seconds=0.05))) <= 6  # at 0, 10 … 50 ms
        assert list(simulator.run(rate=0.001, seconds=0)) == []


def test_a_totesys_out_of_reach_is_one_plain_message() -> None:
    with pytest.raises(SourceError, match="The source /nowhere/totesys can't be reached"):
        Simulator(Dsn("host=/nowhere dbname=totesys"), seed=1)


def test_a_totesys_that_only_lets_us_read_is_one_plain_message(totesys: Totesys) -> None:
    with (
        pytest.raises(SourceError, match=r"permission denied for .* a role that may write"),
        reported(totesys.dsn),
        Simulator(totesys.dsn, seed=1) as simulator,
    ):
        simulator.step()


def test_a_log_that_cannot_be_written_is_told_before_anything_happens(
    totesys: Totesys, tmp_path: Path
) -> None:
    before = dump(totesys.dsn)
    with pytest.raises(UsageError, match=r"log can't be written: No such file or directory\."):
        Simulator(totesys.owner, seed=1, log=tmp_path / "none" / "log")
    assert dump(totesys.dsn) == before


def test_with_nothing_to_change_the_next_event_comes(totesys: Totesys) -> None:
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
    assert len(ask(totesys.dsn, "TABLE currency")) == 13


def test_a_design_in_use_is_never_retired(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=1)
        connection.execute("DELETE FROM design WHERE design_id > 3")
    mix = {Kind.RETIRE: 5, Kind.LATE: 5, Kind.SALE: 5}
    with Simulator(totesys.owner, seed=1, mix=mix) as simulator:
        steps(simulator, 100)
    assert ask(totesys.dsn, "SELECT count(*) > 0 FROM design") == [(True,)]


WEEKDAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1))


@given(seed=st.integers(0), day=WEEKDAYS)
def test_a_days_plan_is_in_order_and_in_office_hours(seed: int, day: date) -> None:
    events = plan(Random(seed), day, USUAL)  # noqa: S311
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
def test_a_silent_change_changes(seed: int) -> None:
    known = Known((1, 2), (1, 2), (1,), (1, 2), (1,), {1: "GBP"})
    row = {
        "created_at": datetime(2024, 2, 29, tzinfo=UTC),
        "staff_id": 1,
        "design_id": 2,
        "agreed_delivery_date": "2024-03-01",
        "agreed_delivery_location_id": 2,
    }
    change = silent_change(Random(seed), SALE, row, known)  # noqa: S311
    assert change
    assert all(row[column] != value for column, value in change.items())


SOUND = """
    SELECT count(*) FILTER (WHERE payment_date::date < made::date) BETWEEN 1 AND count(*) / 2,
           count(*) FILTER (WHERE payment_date::date < made::date - 60) = 0
    FROM payment, (SELECT max(created_at) AS made FROM "transaction") AS newest
    WHERE NOT paid
"""
"""Some of what is open is overdue, less than half of it, and nothing for long."""


def test_late_payments_are_settled_by_hand_but_for_some(totesys: Totesys) -> None:
    """In bulk and day by day; dated on the weekday of it, never in time to come."""
    bulk(totesys.owner, orders=1_000, settled=True)
    assert ask(totesys.dsn, SOUND) == [(True, True)]
    with Simulator(totesys.owner, seed=1, mix={**USUAL, Kind.SETTLE: 2}) as simulator:
        events = steps(simulator, 800)
    assert any(event.kind is Kind.SETTLE and event.changes for event in events)
    assert ask(totesys.dsn, SOUND) == [(True, True)]
    assert not ask(
        totesys.dsn,
        """
        SELECT payment_id
        FROM payment, (SELECT max(created_at) AS made FROM "transaction") AS newest
        WHERE paid AND (extract(isodow FROM payment_date::date) > 5 OR payment_date::date > made)
        """,
    )
