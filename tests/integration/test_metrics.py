"""What the dashboard asks of the warehouse: examples to be followed with a pencil.

Also empty, locked and older warehouses, and that it only reads. That all sums are right is shown by
`test_sums.py`.
"""

import ast
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from installation import Installation, at
from metrics_oracle import rounded
from random_business import NOW, SALE

import totes.dashboard
from conftest import EmptyWarehouse
from totes.dashboard import metrics
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import (
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
from totes.dashboard.reading import _frame, open_reading, refuse_writers
from totes.errors import UsageError, WarehouseAway, WarehouseError
from totes.operations.verify import verify
from totes.rates import Rates
from totes.stages.replay import replay
from totes.star.definition import TOTESYS

# One example, to be followed with a pencil.


@pytest.fixture
def told(installation: Installation) -> Installation:
    """Two sales in pounds."""
    installation.filled(2).change(
        "UPDATE currency SET currency_code = 'GBP' WHERE currency_id = 1;"
        "UPDATE currency SET currency_code = 'USD' WHERE currency_id = 2;"
        "UPDATE currency SET currency_code = 'EUR' WHERE currency_id = 3;"
        "UPDATE sales_order SET units_sold = 100, unit_price = 2.50, currency_id = 1,"
        " created_at = '2022-11-07 09:00', counterparty_id = sales_order_id;"
        "UPDATE design SET design_name = '<script>alert(1)</script>' WHERE design_id = 1;"
        "UPDATE sales_order SET design_id = 1"
    )
    installation.run()
    return installation


@pytest.fixture
def rated(told: Installation) -> Installation:
    """The same with exchange rates."""
    installation = replace(told, rates=Rates())
    installation.run()
    return installation


def test_a_page_shows_what_the_orders_say(rated: Installation, warehouse: EmptyWarehouse) -> None:
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
    units = [version.values["units_sold"] for version in found.versions]
    assert units == [100, 300]
    assert first.values["design"] == "<script>alert(1)</script>"
    assert found.deleted_at == second.valid_to
    assert first.valid_to == second.valid_from


def test_refunds_take_away_from_every_number_of_cash_and_debts(
    rated: Installation, warehouse: EmptyWarehouse
) -> None:
    rated.change("DELETE FROM payment")
    for paid, times in (("true", 1), ("false", 2)):
        for kind, amount in enumerate((100, 30, 50, 20), start=1):
            rated.change(
                SALE.format(
                    day="2022-11-07",
                    due="2022-11-08",
                    units=times,
                    price=amount,
                    currency=1,
                    kind=kind,
                    paid=paid,
                    salt=kind,
                )
            )
    rated.run()
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        found = payments.summary(reading, november)
        totals = (found.cash_in, found.cash_out, found.receivable, found.payable)
        assert [total.value for total in totals] == [70, 30, 140, 60]
        series = payments.over_time(reading, november, "year")
        assert series[["cash_in", "cash_out", "net"]].to_numpy().tolist() == [[70, 30, 40]]
        owed = payments.owed(reading, november)
        assert (owed["receivable"].sum(), owed["payable"].sum()) == (140, 60)
        ages = payments.ages(reading, november).groupby("direction")["value"].sum()
        assert (ages["in"], ages["out"]) == (140, 60)
        now = debts.over_time(reading, november.within(NOW, NOW)).iloc[-1]
        assert (now["receivable"], now["payable"]) == (140, 60)
        shown = payments.open_rows(reading, november)
        assert sorted(shown["amount"]) == [-60, -40, 100, 200]
        assert payments.of_other_kinds(reading, november).empty
    rated.change("ALTER TYPE \"PaymentTypeName\" ADD VALUE 'FEE'")
    rated.change("UPDATE payment_type SET payment_type_name = 'FEE' WHERE payment_type_id = 2")
    rated.run()
    with open_reading(warehouse.reader) as reading:
        others = payments.of_other_kinds(reading, november)
        assert others.to_dict("records") == [{"kind": "FEE", "payments": 2}]
        assert payments.summary(reading, november).cash_in.value == 100


def test_what_compares_is_complete_and_as_long_as_what_has_passed(
    rated: Installation, warehouse: EmptyWarehouse
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


def test_what_waits_is_told_beside_the_totals_that_it_belongs_to(
    rated: Installation, warehouse: EmptyWarehouse
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


def test_a_refused_change_of_what_is_counted_is_not_missing(
    rated: Installation, warehouse: EmptyWarehouse
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


def test_the_past_is_converted_at_the_rates_that_were_known(
    rated: Installation, warehouse: EmptyWarehouse
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


def test_history_tells_what_changed_last(told: Installation, warehouse: EmptyWarehouse) -> None:
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


def test_the_pipeline_tells_whether_it_can_be_trusted(
    told: Installation, warehouse: EmptyWarehouse
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


def test_without_rates_only_the_currency_itself_is_summed_and_the_rest_counted(
    rated: Installation, warehouse: EmptyWarehouse
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
    with pytest.raises(WarehouseError, match=r"has no tables yet: `totes run --once` makes them"):
        open_reading(warehouse.reader).__enter__()
    with pytest.raises(WarehouseAway, match="can't be reached"):
        open_reading(warehouse.reader.replace(host="/nowhere")).__enter__()


def test_all_numbers_of_a_page_are_of_one_moment(
    told: Installation, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        before = overview.totals(reading, november)
        told.change("UPDATE sales_order SET units_sold = 7")
        told.run()
        assert overview.totals(reading, november) == before
    with open_reading(warehouse.reader) as reading:
        assert overview.totals(reading, november) != before


def test_a_rebuild_is_seen_whole_or_not_at_all(
    told: Installation, warehouse: EmptyWarehouse
) -> None:
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


def test_a_page_and_a_rebuild_never_wait_for_each_other(
    told: Installation, warehouse: EmptyWarehouse
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


# Nothing but reading.


def test_a_page_can_not_write(told: Installation, warehouse: EmptyWarehouse) -> None:
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
    *(
        "members",
        "id",
        "ever",
        "payments",
        "sales",
        "purchases",
        "columns",
        "totals",
        "counterparty_id",
    ),
    *("earlier", "whose", "kinds", "whole", "waiting", "only", "known"),
    *(
        "begun",
        "ended",
        "true_now",
        "whose_last",
        "no_run_pays",
        "due_at_once",
        "currency_id",
        "rate_key",
    ),
    "own_value",
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
    *("part_payments_then.sql", "part_payments_of_staff_last.sql"),
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
    for star in TOTESYS.tables.values():
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
