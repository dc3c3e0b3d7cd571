"""What pages show where data is missing, incomplete, old or unreachable."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event
from typing import NoReturn

import psycopg
import pytest
from dashboard_page import labelled, metric, open_page, tables_of, words
from replicas import replica_of
from sample_business import (
    MARKDOWN,
    NEVER_ACCEPTED,
    REJECTED,
    SampleBusiness,
)

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.dashboard import text
from totes.dashboard.components import badge
from totes.dashboard.components.badge import DEADLINE_SECONDS, EVERY
from totes.dashboard.metrics import purchases
from totes.dashboard.navigation.view import PAGES
from totes.dashboard.replica import open_replica
from totes.dashboard.replica.refresh import _Copy
from totes.dashboard.replica.tables import ReplicaTable
from totes.dashboard.server.backends import Backends, set_backends
from totes.dashboard.server.web_server import free_port
from totes.errors import WarehouseError
from totes.warehouse.schema import migrate

pytestmark = pytest.mark.few(4)

SECONDS = 60
"""How long a page may take on a busy machine."""


def test_amounts_without_a_rate_are_not_zero(business: SampleBusiness) -> None:
    installation = business.installation
    installation.change_warehouse(
        "CREATE TABLE totes.rates_aside AS SELECT * FROM fact_exchange_rate"
    )
    installation.change_warehouse("DELETE FROM fact_exchange_rate WHERE currency_code = 'USD'")
    try:
        [(orders,)] = installation.query(
            "SELECT count(*) FROM current_sales_order JOIN dim_currency USING (currency_id)"
            " WHERE currency_code = 'USD'"
        )
        looked = open_page(business.backends, "sales", period="all", currency="USD")
        assert not looked.exception
        assert metric(looked, "Revenue").value == "not converted"
        assert f"Not converted: {orders} rows without an exchange rate" in words(looked)
        assert "£0.00" not in metric(looked, "New customers").delta
        for table in tables_of(looked):
            if "value" in table:
                assert table["unconverted"].sum() > 0
                assert table[table["unconverted"] > 0]["value"].isna().all()
        for page in ("overview", "purchases", "payments"):
            also = open_page(business.backends, page, period="all", currency="USD")
            assert not also.exception
            assert "not converted" in words(also)
    finally:
        installation.change_warehouse("DELETE FROM fact_exchange_rate")
        installation.change_warehouse(
            "INSERT INTO fact_exchange_rate SELECT * FROM totes.rates_aside"
        )
        installation.change_warehouse("DROP TABLE totes.rates_aside")


def test_payments_not_covered_by_payment_runs_are_summed_and_listed(
    business: SampleBusiness,
) -> None:
    looked = open_page(business.backends, "payments", period="all")
    every = next(table for table in tables_of(looked) if "days_overdue" in table)
    labelled(looked.radio, "Show").set_value("Not covered by payment runs").run()
    assert not looked.exception
    listed = next((table for table in tables_of(looked) if "days_overdue" in table), None)
    assert listed is not None
    assert 0 < len(listed) < len(every)
    assert set(listed["why"]) <= {"due on a weekend", "due on its creation date"}
    assert (listed["days_overdue"] > 0).all()
    assert set(listed["kind"]) <= {"Sales receipt", "Purchase payment"}
    receivable = listed[listed["direction"] == "Receivable"]["value"]
    assert metric(looked, "Receivables not covered").value == text.money(
        sum(receivable, Decimal(0)), "GBP"
    )


@pytest.mark.parametrize("page", ["overview", "payments"])
def test_unclassified_payment_types_are_shown(business: SampleBusiness, page: str) -> None:
    kinds = "UPDATE dim_payment_type SET payment_type_name = '{}' WHERE payment_type_name = '{}'"
    business.installation.change_warehouse(kinds.format(MARKDOWN, "PURCHASE_PAYMENT"))
    try:
        looked = open_page(business.backends, page, period="all")
        [(count,)] = business.installation.query(
            "SELECT count(*) FROM current_payment JOIN dim_payment_type USING (payment_type_id)"
            f" WHERE payment_type_name = '{MARKDOWN}'"
        )
    finally:
        business.installation.change_warehouse(kinds.format("PURCHASE_PAYMENT", MARKDOWN))
    assert not looked.exception
    [note] = [one.value for one in looked.text if "excluded from totals" in one.value]
    assert f"{MARKDOWN} ({count:,})" in note
    assert count > 0
    for element in (*looked.markdown, *looked.caption):
        assert MARKDOWN not in element.value


def test_payments_not_covered_by_payment_runs_are_not_expected(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "payments", period="all")
    ahead = next(table for table in tables_of(looked) if "day" in table)
    [(to_us, by_us)] = business.installation.query(
        f"""
        SELECT
            sum(payment_amount * rate) FILTER (WHERE type.payment_type_name = 'SALES_RECEIPT'),
            sum(payment_amount * rate) FILTER (WHERE type.payment_type_name = 'PURCHASE_PAYMENT')
        FROM current_payment
        JOIN dim_payment_type AS type USING (payment_type_id)
        JOIN dim_currency USING (currency_id)
        JOIN exchange_rate_to('GBP') AS rate USING (currency_code)
        WHERE rate_date = payment_date
            AND NOT paid
            AND payment_date BETWEEN '{ahead["day"].min()}' AND '{ahead["day"].max()}'
            AND (extract(ISODOW FROM payment_date) > 5 OR payment_date = created_date)
        """
    )
    uncovered_in, uncovered_out = (text.markdown(text.money(one, "GBP")) for one in (to_us, by_us))
    assert f"Not included: receivables of {uncovered_in} and payables of {uncovered_out}" in words(
        looked
    )
    weekend = ahead[[day.isoweekday() > 5 for day in ahead["day"]]]
    assert (weekend["cash_in"] == 0).all()
    assert (weekend["uncovered_in"] > 0).any()


def test_a_total_shows_its_rows_in_quarantine(business: SampleBusiness) -> None:
    [(worth, more)] = business.installation.query(
        f"""
        WITH refused AS (
            SELECT
                key::int AS key,
                (row ->> 'units_sold')::int AS units,
                (row ->> 'unit_price')::numeric * rate AS price
            FROM totes.quarantine
            JOIN dim_currency ON currency_id = (row ->> 'currency_id')::int
            JOIN exchange_rate_to('GBP') AS rate USING (currency_code)
            WHERE rate.rate_date = (row ->> 'created_date')::date
        )
        SELECT
            (SELECT units * price FROM refused WHERE key = {NEVER_ACCEPTED}),
            (
                SELECT (units - units_sold) * price
                FROM refused JOIN current_sales_order ON sales_order_id = key
                WHERE key = {REJECTED}
            )
        """
    )
    looked = open_page(business.backends, period="all")
    missing, outdated = (text.markdown(text.money(one, "GBP")) for one in (worth, more))
    said = [caption.value for caption in looked.caption]
    of_revenue = [f"In quarantine, not included: 1 row ({missing})" in each for each in said]
    assert of_revenue.count(True) == 2  # and of the margin
    assert any(
        "Newest version in quarantine, previous one included: 1 row "
        f"(would change the total by +{outdated})" in each
        for each in said
    )
    pipeline = open_page(business.backends, "pipeline")
    refused = next(table for table in tables_of(pipeline) if "reason" in table)
    assert "fact_sales_order" in set(refused["star_table"])


@pytest.mark.bare
def test_an_empty_warehouse_shows_what_to_do(warehouse: EmptyWarehouse) -> None:
    fresh = open_page(Backends(replica_of(warehouse.reader)))
    assert not fresh.exception
    assert "totes warehouse migrate" in words(fresh)
    migrate(warehouse.dsn)
    empty = open_page(Backends(replica_of(warehouse.reader)))
    assert [title.value for title in empty.title] == ["No data yet"]
    assert "totes run --once" in words(empty)


def test_an_unreachable_warehouse_shows_what_to_do() -> None:
    away = Dsn(f"postgresql://nobody@127.0.0.1:{free_port(wanted=0)}/none")
    looked = open_page(Backends(replica_of(away)), "sales")
    assert not looked.exception
    assert [title.value for title in looked.title] == ["The warehouse can't be reached"]
    assert "totes check" in words(looked)
    assert "reloads automatically" in words(looked)
    assert "nobody" not in words(looked)  # role and address are in the log only
    assert "127.0.0.1" not in words(looked)
    assert {link.proto.label for link in looked.get("page_link")} == set(PAGES.values())


def test_without_the_warehouse_a_page_shows_the_last_state(business: SampleBusiness) -> None:
    before = metric(open_page(business.backends, "sales", period="all"), "Revenue").value
    [(batch,)] = business.installation.query("SELECT max(batch) FROM totes.batches")
    business.installation.change_warehouse("ALTER TABLE totes.batches RENAME TO aside")
    try:
        looked = open_page(business.backends, "sales", period="all")
    finally:
        business.installation.change_warehouse("ALTER TABLE totes.aside RENAME TO batches")
    assert not looked.exception
    [error] = looked.error
    assert "The warehouse can't be read" in error.value
    assert f"The data below is that of batch {batch}, as of 20" in error.value
    assert "reloads automatically" in words(looked)
    assert "aside" not in words(looked)
    assert metric(looked, "Revenue").value == before
    looked.run()
    assert not looked.error


def test_an_interrupted_page_shows_that_it_is_incomplete(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise WarehouseError("aside")

    with monkeypatch.context() as patched:
        patched.setattr(purchases, "by", fail)
        looked = open_page(business.backends, "purchases", period="all")
    assert not looked.exception
    assert "aside" not in words(looked)
    assert "reloads automatically" in words(looked)
    shown = [element.type for element in looked.main]
    assert shown.index("error") < shown.index("title") < shown.index("metric")
    assert shown[-1] == "error"
    for error in looked.error:
        assert "The warehouse can't be read" in error.value
    assert "`totes check` shows the cause" in looked.error[0].value
    spend = metric(looked, "Purchases").value
    looked.run()
    assert not looked.error
    assert "reloads automatically" not in words(looked)
    assert metric(looked, "Purchases").value == spend


def test_a_locked_warehouse_is_reported_and_filters_are_kept(
    business: SampleBusiness, tmp_path: Path
) -> None:
    business.backends.replica.refresh()
    with (
        open_replica(tmp_path, business.reader, memory_mb=256) as replica,
        psycopg.connect(business.installation.warehouse.reveal()) as connection,
    ):
        connection.execute("LOCK TABLE totes.batches IN ACCESS EXCLUSIVE MODE")
        looked = open_page(Backends(replica), "overview", period="all")
        shown = open_page(business.backends, "overview", period="all")
        connection.rollback()
        assert [title.value for title in looked.title] == ["The warehouse is locked"]
        assert [title.value for title in shown.title] == [PAGES["overview"]]
        for one in (looked, shown):
            assert not one.exception
            assert "The warehouse is locked" in words(one)
            assert "`totes replay`" in words(one)
            assert "reloads automatically" in words(one)
        links = looked.get("page_link")
        assert [link.proto.query_string for link in links] == ["period=all"] * len(PAGES)
        set_backends(Backends(replica))
        looked.run()
        assert [title.value for title in looked.title] == [PAGES["overview"]]


def test_the_first_copy_shows_its_progress_and_no_number(
    business: SampleBusiness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, proceed = _Copy.whole, Event()

    def slow(self: _Copy, table: ReplicaTable) -> int:
        count = copy(self, table)
        if table.name == "fact_sales_order":
            proceed.wait(SECONDS)
        return count

    monkeypatch.setattr(_Copy, "whole", slow)
    monkeypatch.setattr(badge, "WAIT_SECONDS", 2)
    with open_replica(tmp_path, business.reader, memory_mb=256) as replica:
        looked = open_page(Backends(replica), "sales", period="all")
        assert [title.value for title in looked.title] == ["Copying the warehouse"]
        said = words(looked)
        assert re.search(r"^Copied [1-9][\d,]* .*rows of the warehouse", said, re.MULTILINE)
        assert not looked.metric
        proceed.set()
        monkeypatch.setattr(badge, "WAIT_SECONDS", SECONDS)
        assert replica.refresh_within(SECONDS)
        looked.run()
        assert [title.value for title in looked.title] == [PAGES["sales"]]


def test_old_data_shows_what_to_do(business: SampleBusiness) -> None:
    old = "UPDATE totes.checks SET checked_at = checked_at - interval '{} hours'"
    business.installation.change_warehouse(
        "UPDATE totes.batches SET captured_at = captured_at - interval '2 hours'"
    )
    business.installation.change_warehouse(old.format(2))
    try:
        looked = open_page(business.backends)
        assert re.search(r"checked 2\.\d h ago", words(looked))
        assert "Is `totes run` running?" in words(looked)
    finally:
        business.installation.change_warehouse(old.format(-2))
        business.installation.change_warehouse(
            "UPDATE totes.batches SET captured_at = captured_at + interval '2 hours'"
        )


def test_new_data_is_shown_within_ten_seconds() -> None:
    assert timedelta(seconds=5) >= EVERY
    assert DEADLINE_SECONDS == 30 * 60
