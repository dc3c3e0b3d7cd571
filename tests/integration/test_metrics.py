"""The dashboard's metrics: what they count, exclude and compare."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from installation import Installation
from metrics_oracle import rounded
from random_business import NOW, SALE
from replicas import open_reading

from conftest import EmptyWarehouse
from totes.dashboard import metrics
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import (
    Quarantined,
    Total,
    changes,
    debts,
    dictionary,
    overview,
    payments,
    pipeline,
    purchases,
    sales,
    versions,
)
from totes.dashboard.reading import frame
from totes.operations.verify import verify
from totes.star.folder import TOTESYS

pytestmark = pytest.mark.few(4)


def test_metrics_follow_changes_of_orders(rated: Installation, warehouse: EmptyWarehouse) -> None:
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
    [(rate,)] = rated.query(
        "SELECT rate FROM exchange_rate_to('GBP')"
        " WHERE rate_date = '2022-11-07' AND currency_code = 'USD'"
    )
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).value == 750 + rounded(250 * rate)
    rated.change('DELETE FROM payment; DELETE FROM "transaction"; DELETE FROM sales_order')
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november) == Total("revenue", Decimal(0), before=None)
        found = versions.history(reading, "sales_order", 1)
    first, second = found.versions
    assert not first.changed
    assert second.changed == {"units_sold"}
    units = [version.values["units_sold"] for version in found.versions]
    assert units == [100, 300]
    assert first.values["design"] == "<script>alert(1)</script>"
    assert found.deleted_at == second.valid_to
    assert first.valid_to == second.valid_from


def test_refunds_are_subtracted_from_cash_and_open_payments(
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
        assert payments.unclassified_types(reading, november).empty
    rated.change("ALTER TYPE \"PaymentTypeName\" ADD VALUE 'FEE'")
    rated.change("UPDATE payment_type SET payment_type_name = 'FEE' WHERE payment_type_id = 2")
    rated.run()
    with open_reading(warehouse.reader) as reading:
        others = payments.unclassified_types(reading, november)
        assert others.to_dict("records") == [{"kind": "FEE", "payments": 2}]
        assert payments.summary(reading, november).cash_in.value == 100


def test_the_previous_period_is_complete_and_as_long_as_the_part_until_today(
    rated: Installation, warehouse: EmptyWarehouse
) -> None:
    rated.change("UPDATE sales_order SET created_at = '2022-11-03 09:00' WHERE sales_order_id = 1")
    rated.change("UPDATE payment SET paid = true, payment_date = '2022-11-20', currency_id = 1")
    rated.run()
    sixth = Filter(date(2022, 11, 6), date(2022, 11, 30))  # of which two days have passed
    with open_reading(warehouse.reader) as reading:
        previous_period = metrics.previous_period(reading, sixth)
        assert previous_period == replace(sixth, since=date(2022, 11, 4), until=date(2022, 11, 5))
        revenue = sales.total(reading, sixth)
        assert (revenue.value, revenue.before) == (Decimal(250), Decimal(0))
        cash = payments.summary(reading, sixth).cash_in  # of days, too, that are yet to come
        assert (cash.value != 0, cash.before) == (True, None)
        assert (
            payments.summary(reading, sixth.within(sixth.since, date(2022, 11, 7))).cash_in.before
            == 0
        )
        fifth = sixth.within(date(2022, 11, 5), date(2022, 11, 30))  # three days
        assert metrics.previous_period(reading, fifth) is None  # the data begins on the 3rd
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
    rated.change_warehouse("DELETE FROM fact_exchange_rate")
    with open_reading(warehouse.reader) as reading:
        summary = sales.summary(reading, third)
        assert (summary.orders_before, summary.average_price_before) == (2, None)
        assert summary.revenue.before is None  # that of one of the orders is not known


def test_totals_count_the_rows_in_quarantine_that_they_exclude(
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
    [(count,)] = rated.query("SELECT count(*) FROM totes.quarantine")
    with open_reading(warehouse.reader) as reading:
        found = payments.summary(reading, november)
        worth = Decimal(1000 * (count - 1) - 300)
        assert found.cash_in.quarantined == Quarantined(count, worth)
        for other in (found.cash_out, found.receivable, found.overdue_receivable, found.payable):
            assert other.quarantined == Quarantined()
        dollars = payments.summary(reading, replace(november, currencies=("USD",)))
        assert dollars.cash_in.quarantined == Quarantined()
        december = payments.summary(reading, november.within(NOW, NOW))
        assert december.cash_in.quarantined == Quarantined()
    rated.change("UPDATE payment SET paid = false, payment_date = '2022-02-30'")
    rated.run()  # refused once more: the same payments
    with open_reading(warehouse.reader) as reading:
        found = payments.summary(reading, november)
        assert found.receivable.quarantined == Quarantined(count, worth)
        assert found.overdue_receivable.quarantined == Quarantined(uncertain=count)
        assert found.cash_in.quarantined == Quarantined()
        [(moment,)] = rated.query("SELECT min(valid_from) FROM totes.quarantine")
        past = payments.summary(reading, replace(november, as_of=moment))
        assert past.cash_in.quarantined == Quarantined(count, worth)
        assert past.receivable.quarantined == Quarantined()
    rated.change(
        "INSERT INTO currency VALUES (5, 'XQX', now(), now());"
        "UPDATE sales_order SET currency_id = 5 WHERE sales_order_id = 1"
    )
    rated.run()
    [(moment,)] = rated.query("SELECT data_to FROM totes.freshness")
    with open_reading(warehouse.reader) as reading:
        revenue = sales.total(reading, november)
        assert revenue.quarantined == Quarantined(outdated=1, unknown_differences=1)
        assert (revenue.value, revenue.count) == (Decimal(500), 2)  # as it was before
    rated.change(
        "UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 5;"
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2"
    )
    rated.run()
    with open_reading(warehouse.reader) as reading:  # it has come into that past, too
        then = sales.total(reading, replace(november, as_of=moment))
        assert (then.count, then.quarantined) == (2, Quarantined())


def test_a_rejected_change_of_a_counted_row_is_outdated_not_excluded(
    rated: Installation, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    may = november.within(date(2023, 5, 1), date(2023, 5, 31))
    refused = "UPDATE sales_order SET agreed_delivery_date = 'soon', {} WHERE sales_order_id = 1"
    rated.change(refused.format("units_sold = 300"))
    rated.run()
    [(moment,)] = rated.query("SELECT data_to FROM totes.freshness")
    with open_reading(warehouse.reader) as reading:
        revenue = sales.total(reading, november)
        assert (revenue.value, revenue.count) == (Decimal(500), 2)
        assert revenue.quarantined == Quarantined(outdated=1, difference=Decimal(500))
        margin = overview.totals(reading, november).margin
        assert margin is not None
        assert margin.quarantined == revenue.quarantined
        assert sales.total(reading, may).quarantined == Quarantined()
    rated.change(refused.format("units_sold = 200, created_at = '2023-05-01'"))
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).quarantined == Quarantined(
            outdated=1, difference=Decimal(-250)
        )
        assert sales.total(reading, may).quarantined == Quarantined(1, Decimal(500))
        past = sales.total(reading, replace(november, as_of=moment))
        assert past.quarantined == Quarantined(outdated=1, difference=Decimal(500))
    rated.change(
        "UPDATE sales_order SET agreed_delivery_date = '2022-12-01', units_sold = 400"
        " WHERE sales_order_id = 1"
    )
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, may).quarantined == Quarantined()
        past = sales.total(reading, replace(november, as_of=moment))
        assert past.quarantined == Quarantined(outdated=1, difference=Decimal(500))
    rated.change(
        refused.format("sales_order_id = 2000000001, units_sold = 200")
    )  # another order, never seen before
    rated.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).quarantined == Quarantined()
        assert sales.total(reading, may).quarantined == Quarantined(1, Decimal(500))


def test_the_past_is_converted_at_the_rates_known_then(
    rated: Installation, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30), reporting="EUR")
    with open_reading(warehouse.reader) as reading:
        then = sales.total(reading, november).value
        age = pipeline.rates_age(reading)
    [(newest,)] = rated.query(
        "SELECT max(rate_date) FROM current_exchange_rate"
        " WHERE currency_code = 'USD' AND NOT carried_forward"
    )
    assert age == pipeline.RatesAge(newest, NOW, "ECB bundled")
    [(moment, gbp)] = rated.query(
        "SELECT clock_timestamp(), rate FROM current_exchange_rate"
        " WHERE rate_date = '2022-11-07' AND currency_code = 'GBP'"
    )
    rated.change_warehouse(
        "WITH old AS (UPDATE fact_exchange_rate SET valid_to = clock_timestamp()"
        " WHERE rate_date = '2022-11-07' AND currency_code = 'GBP' RETURNING *)"
        " INSERT INTO fact_exchange_rate (rate_id, rate_date, currency_code, rate, source,"
        " carried_forward, valid_from) SELECT rate_id, rate_date, currency_code, rate / 2, 'x',"
        " false, valid_to FROM old"
    )
    rated.change_warehouse(
        "UPDATE fact_exchange_rate SET source = 'x', carried_forward = false"
        f" WHERE rate_date = '{NOW}' AND currency_code = 'GBP'"
    )
    with open_reading(warehouse.reader) as reading:
        assert then == rounded(Decimal(500) / gbp)
        assert sales.total(reading, november).value == rounded(Decimal(1000) / gbp)
        past = replace(november, as_of=moment)
        assert sales.total(reading, past).value == then
        assert [*sales.rows(reading, past)["value"]] == [*sales.by(reading, past, "staff")["value"]]
        assert pipeline.rates_age(reading) == pipeline.RatesAge(NOW, NOW, "x")
        [(first,)] = rated.query("SELECT min(captured_at) FROM totes.batches")
        before_rates = replace(november, as_of=first)  # the first known rates apply
        assert sales.total(reading, before_rates).value == then
    rated.change_warehouse("DELETE FROM fact_exchange_rate")
    with open_reading(warehouse.reader) as reading:
        assert pipeline.rates_age(reading, moment) == pipeline.RatesAge(None, None, None)


def test_the_latest_changes_have_a_row_for_each_value(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    with open_reading(warehouse.reader) as reading:
        assert changes.rows(reading, Filter(*ALL_DAYS), limit=10).empty
        nothing_there = versions.history(reading, "payment", 999)
        assert (nothing_there.versions, nothing_there.deleted_at) == ((), None)
    two_sales.change("UPDATE payment SET paid = NOT paid WHERE payment_id = 2")
    two_sales.run()
    two_sales.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2"
    )
    two_sales.change("DELETE FROM payment WHERE payment_id = 1")
    two_sales.run()
    with open_reading(warehouse.reader) as reading:
        recent = changes.rows(reading, Filter(*ALL_DAYS), limit=10)
        assert recent[["kind", "key", "column_name", "after", "silent"]].to_numpy().tolist() == [
            ["payment", 1, "row", "deleted", False],
            ["payment", 2, "paid", "yes", True],
        ]
        assert versions.begins(reading) is not None
        [quarantined] = versions.history(reading, "sales_order", 2).quarantined
    assert (quarantined.column, quarantined.value) == ("agreed_delivery_date", "soon")
    assert "In quarantine: version captured at" in str(quarantined)


def test_the_pipeline_page_has_verification_and_quarantine(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    with (
        open_bookkeeping(warehouse.reader) as bookkeeping,
        open_reading(warehouse.reader) as reading,
    ):
        fresh = pipeline.freshness(bookkeeping)
        assert fresh.lag_seconds is not None
        assert (fresh.verified, fresh.quarantined) == (None, 0)
        assert list(pipeline.batches(bookkeeping)["batch"]) == [1]
        assert reading.state.batch == 1
        assert pipeline.quarantine(reading).empty
    assert verify(two_sales.pipeline).equal
    two_sales.change_warehouse("UPDATE fact_sales_order SET units_sold = 7")
    with open_bookkeeping(warehouse.reader) as bookkeeping:
        fresh = pipeline.freshness(bookkeeping)
        assert fresh.verified is not None
        assert fresh.verified.equal
        assert fresh.verified.batch == 1
        assert fresh.verified.verified_at <= fresh.now
    assert not verify(two_sales.pipeline).equal
    two_sales.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    two_sales.run()
    with (
        open_bookkeeping(warehouse.reader) as bookkeeping,
        open_reading(warehouse.reader) as reading,
    ):
        fresh = pipeline.freshness(bookkeeping)
        assert fresh.verified is not None
        assert (fresh.verified.equal, fresh.quarantined) == (False, 2)
        [quarantined] = pipeline.quarantine(reading).to_dict("records")
        assert (quarantined["star_table"], quarantined["column_name"], quarantined["rows"]) == (
            "fact_sales_order",
            "agreed_delivery_date",
            2,
        )
        assert list(pipeline.quarantine_rows(reading)["value"]) == ["soon", "soon"]
        assert pipeline.deleted_dimension_rows(bookkeeping).empty
        november = Filter(date(2022, 11, 1), date(2022, 11, 30))
        assert sales.total(reading, november).quarantined == Quarantined(
            outdated=2,
            difference=Decimal(500 - 35),  # of what somebody has altered above
        )
        later = november.within(date(2022, 11, 8), date(2022, 11, 8))
        assert sales.total(reading, later).quarantined == Quarantined()
    two_sales.change("UPDATE sales_order SET agreed_delivery_date = '2022-12-01'")
    two_sales.run()
    with open_reading(warehouse.reader) as reading:
        assert sales.total(reading, november).quarantined == Quarantined()
        assert pipeline.quarantine(reading).empty


def test_integers_and_texts_beside_null_keep_their_types() -> None:
    found = frame(
        [(1, "a", None), (None, None, Decimal("0.10")), (2**53 + 1, "", None)], ["n", "t", "d"]
    )
    assert [str(kind) for kind in found.dtypes] == ["Int64", "object", "object"]
    assert found.to_csv(index=False) == "n,t,d\n1,a,\n,,0.10\n9007199254740993,,\n"
    assert [*found["t"]] == ["a", None, ""]
    assert list(frame([], ["n"])) == ["n"]


def test_an_empty_warehouse_has_zeros(warehouse: EmptyWarehouse) -> None:
    with open_reading(warehouse.reader) as reading:
        choices = metrics.choices(reading)
        assert (choices.currencies, choices.history_begins) == ((), None)
        assert choices.now == reading.now
        assert pipeline.rates_age(reading) == pipeline.RatesAge(None, None, None)
        criteria = Filter.of(choices)
        found = overview.totals(reading, criteria)
        assert found.margin == Total("margin", Decimal(0))
        assert {found.revenue.value, found.payable.value} == {Decimal(0)}
        assert len(overview.over_time(reading, criteria)) == 30
        assert sales.by(reading, criteria, "country").empty
        assert sales.summary(reading, criteria).average_price is None
        assert purchases.rows(reading, criteria).empty
        assert payments.owed(reading, criteria).empty
        assert len(payments.ages(reading, criteria)) == 10
        assert versions.begins(reading) is None
    with open_bookkeeping(warehouse.reader) as bookkeeping:
        assert pipeline.freshness(bookkeeping).lag_seconds is None


def test_without_rates_only_the_reporting_currency_is_summed(
    rated: Installation, warehouse: EmptyWarehouse
) -> None:
    rated.change("UPDATE sales_order SET currency_id = 2 WHERE sales_order_id = 2")
    rated.run()
    rated.change_warehouse("DELETE FROM fact_exchange_rate")
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


def test_every_column_has_a_meaning_and_the_facts_their_sources(warehouse: EmptyWarehouse) -> None:
    with open_bookkeeping(warehouse.reader) as bookkeeping:
        columns = dictionary.columns(bookkeeping)
        tables = dictionary.tables(bookkeeping)
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


def test_the_star_diagrams_follow_the_declaration() -> None:
    found = dictionary.star("Payments")
    assert found.fact == "fact_payment"
    assert dict(found.dimensions)["dim_date"] == (
        "created_date",
        "last_updated_date",
        "payment_date",
    )
    assert set(dictionary.FACTS) == {"Sales", "Purchases", "Payments"}
