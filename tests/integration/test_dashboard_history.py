"""The history of one order and the time machine on the dashboard's pages."""

import re
from datetime import timedelta

import pytest
from dashboard_page import metric, open_page, tables_of, words
from sample_business import (
    CHANGED,
    DELETED,
    SampleBusiness,
)

from totes.dashboard.navigation.view import PAGES

pytestmark = pytest.mark.few(2)


def test_the_history_of_an_order_shows_its_changes(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "history", kind="sales_order", key=str(CHANGED))
    assert "2 versions" in words(looked)
    changes = next(table for table in tables_of(looked) if "before" in table)
    changed = dict(zip(changes["column"], changes["after"], strict=True))
    assert changed["Unit price"] == "9.75"
    assert {"Units sold", "Unit price"} <= set(changed)
    full = next(table for table in tables_of(looked) if "version 2" in table)
    marked = set(full["column"][full["version 2"].str.startswith("● ", na=False)])
    assert marked == set(changed)


def test_a_deleted_order_keeps_its_history(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "history", kind="sales_order", key=str(DELETED))
    assert "**Deleted in totesys**" in words(looked)
    changes = next(table for table in tables_of(looked) if "before" in table)
    assert list(changes["after"])[-1] == "deleted"
    unknown = open_page(business.backends, "history", kind="payment", key="2000000000")
    assert "Payment 2000000000 was not found" in words(unknown)


def test_the_time_machine_shows_the_data_of_a_past_moment(business: SampleBusiness) -> None:
    [(begins, ends)] = business.installation.query(
        f"SELECT valid_from, valid_to FROM fact_sales_order WHERE sales_order_id = {DELETED}"
    )
    [(expected,)] = business.installation.query(
        f"SELECT count(*) FROM sales_order_as_of('{begins}')"
    )
    [(now,)] = business.installation.query("SELECT count(*) FROM current_sales_order")
    looked = open_page(business.backends, "sales", period="all", as_of=begins.isoformat())
    assert not looked.exception
    assert metric(looked, "Sales orders").value == f"{expected:,}" != f"{now:,}"
    assert "Data and exchange rates as of" in words(looked)
    assert ends is not None
    past = words(open_page(business.backends, "payments", period="all", as_of=begins.isoformat()))
    assert re.search(r"Receivables and payables are as of \d+ \w+ \d{4}", past)
    then = open_page(business.backends, "overview", period="all", as_of=ends.isoformat())
    assert re.search(r"^Receivables on \d+ \w{3} 20\d\d$", words(then), re.MULTILINE)
    before = (begins - timedelta(days=400)).isoformat()
    early = open_page(business.backends, "overview", period="all", as_of=before)
    assert not early.exception
    assert "history begins at" in words(early)
    assert "No data as of" in words(early)
    next(button for button in early.button if button.label == "Show current data").click().run()
    assert early.query_params == {"period": "all"}


def test_a_moment_in_the_future_is_ignored_with_a_notice(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", period="all", as_of="2199-01-01T00:00:00Z")
    assert not looked.exception
    assert "Ignored “as_of” in the URL" in words(looked)
    assert "Data and exchange rates as of" not in words(looked)
    assert metric(looked, "Sales orders").value != "0"


def test_pages_show_what_the_time_machine_applies_to(business: SampleBusiness) -> None:
    [(begins,)] = business.installation.query("SELECT max(captured_at) FROM totes.batches")
    moment = begins.isoformat()
    for page in ("payments", "purchases"):
        said = words(open_page(business.backends, page, as_of=moment))
        assert re.search(r"(are as of|Deliveries due from) \d+ \w{3} 20\d\d", said)
    for page in ("history", "pipeline", "dictionary"):
        looked = open_page(business.backends, page, as_of=moment)
        assert not looked.exception
        assert f"{PAGES[page]} always shows current data" in words(looked)
    sales = open_page(business.backends, "sales", as_of=moment)
    assert re.search(r"^Now: Data as of", words(sales), re.MULTILINE)
    assert "Data and exchange rates as of" in words(sales)
    early = open_page(business.backends, "sales", as_of=(begins - timedelta(days=400)).isoformat())
    assert [title.value for title in early.title] == ["Sales"]
    assert not early.metric
    assert not tables_of(early)


def test_an_invalid_id_or_kind_in_the_url_is_reported(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "history", kind="moon", key="abc")
    assert not looked.exception
    assert "Ignored “kind” in the URL: “moon” does not exist." in words(looked)
    assert "Ignored “key” in the URL: “abc” is not an id such as 1234." in words(looked)
    emptied = open_page(business.backends, "history", kind="payment", key="")
    assert "Ignored" not in words(emptied)
