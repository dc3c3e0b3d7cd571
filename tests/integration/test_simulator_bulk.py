"""Filling a totesys in bulk."""

from datetime import date, timedelta
from math import ceil

import psycopg
import pytest
from database import fetch_rows
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from simulated_business import dump, empty, steps

from conftest import Totesys
from totes.demo.simulator import (
    HOSTILE,
    Kind,
    Simulator,
    bulk,
    seed_reference,
)
from totes.errors import UsageError


def test_bulk_inserts_the_same_rows_for_the_same_seed_only(totesys: Totesys) -> None:
    dumps = []
    for seed in (3, 3, 4):
        bulk(totesys.owner, orders=50, seed=seed)
        dumps.append(dump(totesys.dsn))
        empty(totesys)
    assert dumps[0] == dumps[1]
    assert dumps[0] != dumps[2]


def test_bulk_restores_constraints_and_sets_sequences(totesys: Totesys) -> None:
    query = """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2
    """
    before = fetch_rows(totesys.dsn, query)
    bulk(totesys.owner, orders=10, purchases=4)
    assert fetch_rows(totesys.dsn, query) == before
    with Simulator(totesys.owner, seed=1, mix={Kind.SALE: 25}) as simulator:
        sales = (event for event in simulator.run() if event.kind is Kind.SALE)
        assert next(sales).changes[0].key == 11
    assert fetch_rows(totesys.dsn, "SELECT max(transaction_id), max(payment_id) FROM payment") == [
        (15, 15)
    ]


def test_bulk_can_be_repeated_after_an_interruption(totesys: Totesys) -> None:
    with psycopg.connect(totesys.owner.reveal()) as connection:
        seed_reference(connection, seed=3)
        connection.rollback()
    bulk(totesys.owner, orders=50, seed=3)
    assert fetch_rows(totesys.dsn, "SELECT min(address_id), min(staff_id) FROM address, staff") == [
        (1, 1)
    ]


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
    kinds = fetch_rows(
        totesys.dsn, 'SELECT DISTINCT transaction_type FROM "transaction" ORDER BY 1'
    )
    assert kinds == [("PURCHASE",), ("SALE",)]


def test_bulk_rejects_a_totesys_with_orders(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=1)
    before = dump(totesys.dsn)
    with pytest.raises(UsageError, match="has orders already"):
        bulk(totesys.owner, orders=1)
    assert dump(totesys.dsn) == before


DEALS_BY_DAY = """
    SELECT created_at::date, count(*), max(created_at)::time
    FROM "transaction" GROUP BY 1 ORDER BY 1
"""


@given(last_day=st.dates(date(2023, 1, 1), date(2030, 1, 1)), orders=st.integers(1, 500))
@example(last_day=date(2026, 11, 28), orders=75)  # a Saturday
@example(last_day=date(2026, 11, 29), orders=75)  # a Sunday
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bulk_ends_at_closing_time_of_the_last_weekday_and_is_even(
    totesys: Totesys, last_day: date, orders: int
) -> None:
    empty(totesys)
    bulk(totesys.owner, orders=orders, last_day=last_day)
    deals = orders + orders * 2 // 5
    expected = weekdays_until(last_day, ceil(deals / 35))
    rows = fetch_rows(totesys.dsn, DEALS_BY_DAY)
    assert [day for day, *_ in rows] == expected
    counts = [count for _, count, _ in rows]
    assert sum(counts) == deals
    assert max(counts) - min(counts) <= 1
    assert min(counts) >= min(deals, 18)  # with more than one weekday, at least half of 35
    if deals >= 18:
        assert min(str(last) for *_, last in rows) > "18:20"
    assert max(str(last) for *_, last in rows) < "19:00"


def weekdays_until(day: date, number: int) -> list[date]:
    """Return so many weekdays in ascending order, the last of them on or before `day`."""
    days = [day - timedelta(days=before) for before in range(2 * number + 2)]
    return sorted([day for day in days if day.isoweekday() < 6][:number])


def test_bulk_distributes_orders_over_a_given_number_of_weekdays(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=50, last_day=date(2026, 11, 24), weekdays=10)
    rows = fetch_rows(totesys.dsn, DEALS_BY_DAY)
    assert [(day, count) for day, count, _ in rows] == [
        (day, 7) for day in weekdays_until(date(2026, 11, 24), 10)
    ]
