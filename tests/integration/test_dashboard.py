"""The dashboard's pages in every state, run as the web server runs them, on a real warehouse."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pandas as pd
import psycopg
import pytest
from sample_business import (
    CHANGED,
    DELETED,
    MARKDOWN,
    NEVER_SEEN,
    REFUSED,
    SCRIPT,
    TWINS,
    SampleBusiness,
    sample_business,
)
from streamlit.testing.v1 import AppTest

from conftest import EmptyWarehouse
from totes.config.settings import Dsn
from totes.dashboard import charts, text
from totes.dashboard.badge import DEADLINE_SECONDS, EVERY
from totes.dashboard.served import Served, serve
from totes.dashboard.server import APP, OPTIONS, free_port, url
from totes.dashboard.view import PAGES
from totes.embedded.servers import EmbeddedServer, Source
from totes.warehouse.schema import migrate

SECONDS = 60
"""What a page may take on a machine that does other things: nothing here is about speed."""

WORDS = ("markdown", "caption", "info", "warning", "error", "title", "subheader", "metric")
"""What shows Markdown."""


@pytest.fixture(scope="module")
def business(
    server: EmbeddedServer, template: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SampleBusiness]:
    with sample_business(server, template, "pages", tmp_path_factory.mktemp("pages")) as made:
        yield made


def look(what: Served, page: str = "overview", **query: str | list[str]) -> AppTest:
    """A page as the server makes it for a URL."""
    serve(what)
    looked = AppTest.from_file(str(APP), default_timeout=SECONDS)
    for name, value in query.items():
        looked.query_params[name] = value
    looked.run()
    if page != "overview":
        looked.switch_page(f"{page}.py").run()
    return looked


def words(looked: AppTest) -> str:
    """All that a page says outside of tables and charts."""
    said = [element.value for element in looked.text]
    for kind in WORDS:
        for element in looked.get(kind):
            said += [getattr(element, name, "") or "" for name in ("value", "label", "delta")]
    return "\n".join(map(str, said))


def tables_of(looked: AppTest) -> list[pd.DataFrame]:
    return [element.value for element in looked.dataframe]


def metric(looked: AppTest, label: str) -> Any:
    return labelled(looked.metric, label)


def labelled(elements: Iterable[Any], label: str) -> Any:
    return next(element for element in elements if element.label == label)


# Every page


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_its_numbers_and_how_fresh_they_are(
    business: SampleBusiness, page: str
) -> None:
    looked = look(business.served, page, period="all")
    assert not looked.exception
    assert [title.value for title in looked.title] == [PAGES[page]]
    said = words(looked)
    fresh = r"^Data to \d\d:\d\d UTC.*, checked \d+ s ago, never verified$"
    assert re.search(fresh, said, re.MULTILINE)
    assert "Nobody has looked" not in said
    assert tables_of(looked) or page == "history"
    if page not in {"history", "dictionary"}:
        [(newest, through, source)] = business.installation.ask(
            "SELECT max(rate_date) FILTER (WHERE NOT carried_forward), max(rate_date), max(source)"
            " FROM current_exchange_rate WHERE rate_date <= now() AND currency_code = 'USD'"
        )
        assert newest < through
        assert f"ates to {text.day(newest)}" in said.replace("Rates to\n", "Rates to ")
        assert source in said
        assert "carry the last one on" in said


@pytest.mark.parametrize("page", ["overview", "sales", "purchases", "payments"])
def test_a_period_without_business_is_told_in_words(business: SampleBusiness, page: str) -> None:
    looked = look(business.served, page, **{"from": "1999-01-01", "to": "1999-01-31"})
    assert not looked.exception
    assert "Nothing in this period." in words(looked)  # in the place of an empty chart
    assert "Look into one day" not in [choice.label for choice in looked.selectbox]
    if page in {"sales", "purchases"}:
        assert re.search(r"Nothing was (sold|bought) in this period", words(looked))


@pytest.mark.parametrize("page", PAGES)
def test_text_of_the_warehouse_is_never_markdown_or_html(
    business: SampleBusiness, page: str
) -> None:
    looked = look(business.served, page, period="all", kind="sales_order", key=str(CHANGED))
    for kind in (*WORDS, "html"):
        for element in looked.get(kind):
            for name in ("value", "label", "body", "delta", "help"):
                shown = str(getattr(element, name, ""))
                assert SCRIPT not in shown
                assert MARKDOWN not in shown
    if page == "sales":
        designs = next(t for t in tables_of(looked) if "share" in t and SCRIPT in set(t["name"]))
        assert MARKDOWN in set(designs["name"])


@pytest.mark.parametrize(
    ("page", "tabs"),
    [
        ("sales", {"Design", "Counterparty", "Member of staff", "Department", "Currency"}),
        (
            "purchases",
            {"Counterparty", "Item", "Member of staff", "Department", "Supplier's country"}
            | {"Currency"},
        ),
    ],
)
def test_a_tab_is_asked_for_when_it_is_opened(
    business: SampleBusiness, page: str, tabs: set[str]
) -> None:
    looked = look(business.served, page, period="all")
    assert {tab.label for tab in looked.tabs} == tabs
    assert [tab.label for tab in looked.tabs if tab.dataframe] == [looked.tabs[0].label]
    for name in tabs:
        looked.session_state[f"{page}-by"] = name
        looked.run()
        assert not looked.exception
        [opened] = [tab for tab in looked.tabs if tab.dataframe]
        assert opened.label == name
        shown = opened.dataframe[0].value
        assert f"{shown['orders'].sum():,}" == metric(looked, "Orders").value
        for element in (*opened.markdown, *opened.caption):
            assert SCRIPT not in element.value
            assert MARKDOWN not in element.value


def test_of_very_many_items_the_dearest_are_shown_and_the_rest_is_one(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.dashboard.rows.MOST_RANKED", 9)
    drawn = []
    ranked = charts.ranked

    def noted(frame: pd.DataFrame, *arguments: Any, **named: Any) -> charts.Chart:
        drawn.append(frame)
        return ranked(frame, *arguments, **named)

    monkeypatch.setattr(charts, "ranked", noted)
    looked = look(business.served, "purchases", period="all")
    looked.session_state["purchases-by"] = "Item"
    drawn.clear()
    looked.run()
    assert not looked.exception
    [opened] = [tab for tab in looked.tabs if tab.dataframe]
    assert len(opened.dataframe[0].value) == 9
    assert opened.caption[0].value == "The 9 that most was spent on."
    [frame] = drawn
    assert metric(looked, "Orders").value == f"{frame['orders'].sum():,}"
    assert metric(looked, "Spend").value == text.money(sum(frame["value"], Decimal(0)), "GBP")


def test_deliveries_name_the_country_they_go_to_beside_the_suppliers(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = business.installation.ask(
        "SELECT purchase_order_id, place.city, place.country, counterparty_legal_country"
        " FROM current_purchase_order JOIN dim_counterparty USING (counterparty_id)"
        " JOIN dim_location AS place ON place.location_id = agreed_delivery_location_id"
    )
    truth = {key: told for key, *told in known}
    assert any(there != home for _, there, home in truth.values())
    looked = look(business.served, "purchases", period="all")
    looked.toggle(key="rows-purchase_order-shown").set_value(True).run()
    coming, every = (
        next(table for table in tables_of(looked) if name in table and "city" in table)
        for name in ("days", "created_date")
    )
    assert 2 < len(coming) < len(every) == len(truth)
    for table in (coming, every):
        shown = table[["city", "delivery_country", "country"]].to_numpy().tolist()
        assert shown == [truth[key] for key in table["purchase_order_id"]]
    assert "The first" not in words(looked)
    monkeypatch.setattr("totes.dashboard.rows.MOST", (2, 1000))
    few = look(business.served, "purchases", period="all")
    assert "The first 2; to see others, ask for more, or narrow the filter." in words(few)
    assert len(next(table for table in tables_of(few) if "days" in table)) == 2
    few.radio(key="purchases-deliveries-most").set_value(1000).run()
    assert not few.exception
    assert "The first" not in words(few)
    assert len(next(table for table in tables_of(few) if "days" in table)) == len(coming)
    few.radio(key="purchases-deliveries-most").set_value(2).run()
    assert len(next(table for table in tables_of(few) if "days" in table)) == 2


def test_the_top_designs_of_a_long_period_wait_to_be_wanted(business: SampleBusiness) -> None:
    looked = look(business.served, "sales", period="last-12-months")
    assert not any("place" in table for table in tables_of(looked))
    looked.toggle(key="sales-top-designs-shown").set_value(True).run()
    assert not looked.exception
    assert any("place" in table for table in tables_of(looked))


@pytest.mark.parametrize(
    ("page", "lists"),
    [
        ("sales", ["rows-sales_order-shown"]),
        ("purchases", ["rows-purchase_order-shown"]),
        ("payments", ["rows-paid-shown"]),
        ("history", []),
    ],
)
def test_two_of_one_name_are_told_apart_in_every_table(
    business: SampleBusiness, page: str, lists: list[str]
) -> None:
    [(one, order)] = business.installation.ask(
        "SELECT counterparty_id, min(sales_order_id) FROM current_sales_order"
        f" JOIN dim_counterparty USING (counterparty_id) WHERE counterparty_legal_name = '{TWINS}'"
        " GROUP BY 1 ORDER BY 1 LIMIT 1"
    )
    query = {"kind": "sales_order", "key": str(order)}
    looked = look(business.served, page, period="all", counterparty=str(one), **query)
    for name in lists:
        looked.toggle(key=name).set_value(True)
    looked.run()
    assert not looked.exception
    cells = {str(cell) for table in tables_of(looked) for cell in table.to_numpy().ravel()}
    assert f"{TWINS} ({one})" in cells  # though the other is in none of them
    assert TWINS not in cells
    if page == "sales":
        designs = {cell for cell in cells if cell.startswith(TWINS) and cell.endswith(")")}
        assert len(designs) > 1


def test_the_numbers_are_those_of_the_warehouse(business: SampleBusiness) -> None:
    [(truth,)] = business.installation.ask(
        "SELECT sum(units_sold * unit_price * rate) FROM current_sales_order"
        " JOIN dim_currency USING (currency_id) JOIN exchange_rate_to('GBP') AS r"
        " USING (currency_code) WHERE r.rate_date = created_date"
    )
    looked = look(business.served, period="all")
    assert metric(looked, "Revenue").value == text.money(truth, "GBP")
    assert text.money(truth, "GBP", exact=True) in metric(looked, "Revenue").help


# Filters


def test_a_choice_goes_into_the_url_and_into_every_link(business: SampleBusiness) -> None:
    looked = look(business.served, "sales", period="all")
    labelled(looked.multiselect, "Currency").set_value(["USD"]).run()
    assert not looked.exception
    assert looked.query_params == {"period": "all", "currency": "USD"}
    labelled(looked.selectbox, "All sums in").set_value("EUR").run()
    labelled(looked.selectbox, "Period").set_value("last-12-months").run()
    expected = {"period": "last-12-months", "currency": "USD", "in": "EUR"}
    assert looked.query_params == expected
    for link in looked.get("page_link"):
        assert "currency=USD" in link.proto.query_string
        assert "in=EUR" in link.proto.query_string
    assert "€" in metric(looked, "Revenue").value
    looked.button[-1].run()


def test_a_country_of_two_names_is_one_choice_of_both(business: SampleBusiness) -> None:
    [(orders,)] = business.installation.ask(
        "SELECT count(*) FROM current_sales_order JOIN dim_location AS place"
        " ON place.location_id = agreed_delivery_location_id"
        " WHERE place.country IN ('Turkey', 'Türkiye')"
    )
    looked = look(business.served, "sales", period="all", country="Türkiye")
    countries = labelled(looked.multiselect, "Country")
    assert (countries.value, countries.options.count("Turkey / Türkiye")) == (["Turkey"], 1)
    assert metric(looked, "Orders").value == f"{orders:,}"
    assert "Only Turkey" in words(looked)
    countries.set_value(["Turkey", "Atlantis"]).run()
    assert looked.query_params == {"period": "all", "country": ["Turkey", "Atlantis"]}
    assert "Only Turkey, Atlantis" in words(looked)
    looked.button(key="show-all").click().run()
    assert looked.query_params == {"period": "all"}
    assert "Only " not in words(looked)
    [(key,)] = business.installation.ask("SELECT min(counterparty_id) FROM dim_counterparty")
    looked = look(business.served, "sales", period="all", counterparty=str(key))
    assert f"Only {SCRIPT}" in [element.value for element in looked.text]


def test_what_a_country_means_is_told_and_unlike_things_have_no_margin(
    business: SampleBusiness,
) -> None:
    everything = look(business.served, period="all", currency="GBP")
    assert metric(everything, "Margin").value
    assert "There is no margin here" not in words(everything)
    assert "legal address" in labelled(everything.multiselect, "Country").help
    assert "legal address" not in words(everything)
    for name, value, told in (
        ("country", "Atlantis", "Country: of sales, where they are delivered."),
        ("department", MARKDOWN, "Department: that of the member of staff"),
    ):
        looked = look(business.served, period="all", **{name: value})
        assert not looked.exception
        assert "Margin" not in [each.label for each in looked.metric]
        assert not any("margin" in table for table in tables_of(looked))
        assert "There is no margin here" in words(looked)
        assert told in words(looked)
        assert metric(looked, "Revenue").value


def test_days_of_ones_own_never_end_before_they_begin(business: SampleBusiness) -> None:
    looked = look(business.served, "sales", **{"from": "2026-01-10", "to": "2026-01-20"})
    labelled(looked.date_input, "From").set_value(date(2026, 2, 3)).run()
    assert looked.query_params == {"from": "2026-02-03", "to": "2026-02-03"}
    labelled(looked.date_input, "To").set_value(date(2026, 1, 5)).run()
    assert looked.query_params == {"from": "2026-01-05", "to": "2026-01-05"}


def test_what_a_url_cannot_mean_is_told_as_text_and_left_out(business: SampleBusiness) -> None:
    hostile = look(
        business.served, "sales", currency=[SCRIPT, "GBP"], period="'; DROP TABLE x", key="-1"
    )
    assert not hostile.exception
    told = [element.value for element in hostile.text]
    assert any(SCRIPT in line and "left out" in line for line in told)
    assert labelled(hostile.multiselect, "Currency").value == ["GBP"]
    odd = look(business.served, "history", kind="<b>", key="9" * 5000)
    assert not odd.exception
    assert labelled(odd.selectbox, "What").value == "sales_order"
    assert labelled(odd.number_input, "Its id in totesys").value is None


def test_one_goes_from_everything_into_a_month_a_day_and_its_rows(business: SampleBusiness) -> None:
    [(day,)] = business.installation.ask("SELECT max(created_date) FROM current_sales_order")
    year = {"from": f"{day.year}-01-01", "to": f"{day.year}-12-31"}
    looked = look(business.served, "sales", **year)
    months = next(s for s in looked.selectbox if s.label == "Look into one month")
    assert len(months.options) == 12
    months.set_value(day.replace(day=1).isoformat())
    late = looked._tree.get_widget_states()  # as a tick of the badge sends them
    looked.run()
    assert looked.query_params["from"] == day.replace(day=1).isoformat()
    looked._run(late)  # is no choice of a day
    days = next(s for s in looked.selectbox if s.label == "Look into one day")
    assert days.value is None
    assert looked.query_params["to"] != looked.query_params["from"] == f"{day:%Y-%m}-01"
    days.set_value(day.isoformat()).run()
    assert looked.query_params == {"from": day.isoformat(), "to": day.isoformat()}
    [(orders,)] = business.installation.ask(
        f"SELECT count(*) FROM current_sales_order WHERE created_date = '{day}'"
    )
    [rows] = [table for table in tables_of(looked) if "sales_order_id" in table]
    assert len(rows) == orders > 0
    up = next(button for button in looked.button if button.label == f"{day:%B %Y}")
    up.click().run()
    assert looked.query_params["from"] == day.replace(day=1).isoformat()


def test_what_the_browser_still_showed_when_the_day_moved_is_no_choice(
    business: SampleBusiness,
) -> None:
    looked = look(business.served, "sales")
    since = labelled(looked.date_input, "From").value
    late = looked._tree.get_widget_states()  # as a tick of the badge sends them
    business.live_a_day_on()
    looked.run()
    assert labelled(looked.date_input, "From").value == since + timedelta(days=1)
    looked._run(late)
    assert not looked.exception
    assert looked.query_params == {}
    assert labelled(looked.selectbox, "Period").value == "last-30-days"
    assert labelled(looked.date_input, "From").value == since + timedelta(days=1)


def test_a_period_ahead_of_the_captures_says_why_it_has_no_line(business: SampleBusiness) -> None:
    ahead = look(business.served, "overview", **{"from": "2100-01-01", "to": "2100-01-31"})
    assert "By the platform's clock this period has not begun" in words(ahead)
    assert "this period has not begun" not in words(look(business.served, period="all"))


@pytest.mark.parametrize("page", ["overview", "payments"])
def test_one_goes_into_a_day_of_cash_and_of_the_whole(business: SampleBusiness, page: str) -> None:
    looked = look(business.served, page, period="all", currency="GBP")
    days = labelled(looked.selectbox, "Look into one day")
    [(day,)] = business.installation.ask("SELECT max(created_date) FROM current_sales_order")
    days.set_value(day.isoformat()).run()
    assert not looked.exception
    assert looked.query_params == {
        "from": day.isoformat(),
        "to": day.isoformat(),
        "currency": "GBP",
    }
    assert "Look into one day" not in [choice.label for choice in looked.selectbox]


# The past


def test_the_history_of_an_order_tells_what_changed_when(business: SampleBusiness) -> None:
    looked = look(business.served, "history", kind="sales_order", key=str(CHANGED))
    assert "2 versions" in words(looked)
    changes = next(table for table in tables_of(looked) if "before" in table)
    changed = dict(zip(changes["column"], changes["after"], strict=True))
    assert changed["Unit price"] == "9.75"
    assert {"Units sold", "Unit price"} <= set(changed)
    full = next(table for table in tables_of(looked) if "version 2" in table)
    marked = set(full["column"][full["version 2"].str.startswith("● ")])
    assert marked == set(changed)


def test_a_deleted_order_keeps_its_history(business: SampleBusiness) -> None:
    looked = look(business.served, "history", kind="sales_order", key=str(DELETED))
    assert "**Deleted in totesys**" in words(looked)
    changes = next(table for table in tables_of(looked) if "before" in table)
    assert list(changes["after"])[-1] == "gone"
    unknown = look(business.served, "history", kind="payment", key="2000000000")
    assert "There is no payment 2000000000" in words(unknown)


def test_the_time_machine_shows_every_page_as_it_stood(business: SampleBusiness) -> None:
    [(begins, ends)] = business.installation.ask(
        f"SELECT valid_from, valid_to FROM fact_sales_order WHERE sales_order_id = {DELETED}"
    )
    [(truth,)] = business.installation.ask(f"SELECT count(*) FROM sales_order_as_of('{begins}')")
    [(now,)] = business.installation.ask("SELECT count(*) FROM current_sales_order")
    looked = look(business.served, "sales", period="all", as_of=begins.isoformat())
    assert not looked.exception
    assert metric(looked, "Orders").value == f"{truth:,}" != f"{now:,}"
    assert "As it stood at" in words(looked)
    assert ends is not None
    past = words(look(business.served, "payments", period="all", as_of=begins.isoformat()))
    assert re.search(r"What is owed is that of \d+ \w+ \d{4}", past)
    then = look(business.served, "overview", period="all", as_of=ends.isoformat())
    assert re.search(r"^Owed to us on \d+ \w{3} 20\d\d$", words(then), re.MULTILINE)
    before = (begins - timedelta(days=400)).isoformat()
    early = look(business.served, "overview", period="all", as_of=before)
    assert not early.exception
    assert "History begins at" in words(early)
    assert "nobody recorded" in words(early)
    next(button for button in early.button if button.label == "Back to now").click().run()
    assert early.query_params == {"period": "all"}


def test_a_moment_to_come_is_left_out_with_a_notice(business: SampleBusiness) -> None:
    looked = look(business.served, "sales", period="all", as_of="2199-01-01T00:00:00Z")
    assert not looked.exception
    assert "“as_of” in the address was left out" in words(looked)
    assert "As it stood" not in words(looked)
    assert metric(looked, "Orders").value != "0"


def test_what_the_time_machine_does_not_reach_says_so(business: SampleBusiness) -> None:
    [(begins,)] = business.installation.ask("SELECT max(captured_at) FROM totes.batches")
    moment = begins.isoformat()
    for page in ("payments", "purchases"):
        said = words(look(business.served, page, as_of=moment))
        assert re.search(r"(owed is that of|Deliveries agreed, from) \d+ \w{3} 20\d\d", said)
    for page in ("history", "pipeline", "dictionary"):
        looked = look(business.served, page, as_of=moment)
        assert not looked.exception
        assert f"{PAGES[page]} is of now" in words(looked)
    sales = look(business.served, "sales", as_of=moment)
    assert re.search(r"^Now: Data to", words(sales), re.MULTILINE)
    assert "at the rates known then" in words(sales)
    early = look(business.served, "sales", as_of=(begins - timedelta(days=400)).isoformat())
    assert [title.value for title in early.title] == ["Sales"]
    assert not early.metric
    assert not tables_of(early)


# What waits, what is old, what is away


def test_what_has_no_rate_is_told_and_is_no_zero(business: SampleBusiness) -> None:
    installation = business.installation
    installation.ask("CREATE TABLE totes.rates_aside AS SELECT * FROM fact_exchange_rate")
    installation.ask("DELETE FROM fact_exchange_rate WHERE currency_code = 'USD'")
    try:
        [(orders,)] = installation.ask(
            "SELECT count(*) FROM current_sales_order JOIN dim_currency USING (currency_id)"
            " WHERE currency_code = 'USD'"
        )
        looked = look(business.served, "sales", period="all", currency="USD")
        assert not looked.exception
        assert metric(looked, "Revenue").value == "not converted"
        assert f"{orders} rows not converted" in words(looked)
        assert "£0.00" not in metric(looked, "New customers").delta
        for table in tables_of(looked):
            if "value" in table:
                assert table["unconverted"].sum() > 0
                assert table[table["unconverted"] > 0]["value"].isna().all()
        for page in ("overview", "purchases", "payments"):
            also = look(business.served, page, period="all", currency="USD")
            assert not also.exception
            assert "not converted" in words(also)
    finally:
        installation.ask("DELETE FROM fact_exchange_rate")
        installation.ask("INSERT INTO fact_exchange_rate SELECT * FROM totes.rates_aside")
        installation.ask("DROP TABLE totes.rates_aside")


def test_never_paid_payments_are_summed_and_listed(business: SampleBusiness) -> None:
    looked = look(business.served, "payments", period="all")
    every = next(table for table in tables_of(looked) if "days_overdue" in table)
    labelled(looked.radio, "Which of them").set_value("Never paid").run()
    assert not looked.exception
    listed = next((table for table in tables_of(looked) if "days_overdue" in table), None)
    assert listed is not None
    assert 0 < len(listed) < len(every)
    assert set(listed["why"]) <= {"due on a weekend", "due on the day it was made"}
    assert (listed["days_overdue"] > 0).all()
    assert set(listed["kind"]) <= {"Sales receipt", "Purchase payment"}
    owed = listed[listed["direction"] == "to us"]["value"]
    assert metric(looked, "Never paid to us").value == text.money(sum(owed, Decimal(0)), "GBP")


@pytest.mark.parametrize("page", ["overview", "payments"])
def test_payments_of_other_kinds_are_told(business: SampleBusiness, page: str) -> None:
    kinds = "UPDATE dim_payment_type SET payment_type_name = '{}' WHERE payment_type_name = '{}'"
    business.installation.ask(kinds.format(MARKDOWN, "PURCHASE_PAYMENT"))
    try:
        looked = look(business.served, page, period="all")
        [(count,)] = business.installation.ask(
            "SELECT count(*) FROM current_payment JOIN dim_payment_type USING (payment_type_id)"
            f" WHERE payment_type_name = '{MARKDOWN}'"
        )
    finally:
        business.installation.ask(kinds.format("PURCHASE_PAYMENT", MARKDOWN))
    assert not looked.exception
    [told] = [one.value for one in looked.text if "in no sum" in one.value]
    assert f"{MARKDOWN} ({count:,})" in told
    assert count > 0
    for element in (*looked.markdown, *looked.caption):
        assert MARKDOWN not in element.value


def test_what_no_run_pays_is_not_expected(business: SampleBusiness) -> None:
    looked = look(business.served, "payments", period="all")
    ahead = next(table for table in tables_of(looked) if "day" in table)
    [(to_us, by_us)] = business.installation.ask(
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
    never_in, never_out = (text.own(text.money(one, "GBP")) for one in (to_us, by_us))
    assert f"Not among these: {never_in} to us and {never_out} by us" in words(looked)
    weekend = ahead[[day.isoweekday() > 5 for day in ahead["day"]]]
    assert (weekend["cash_in"] == 0).all()
    assert (weekend["never_in"] > 0).any()


def test_what_quarantine_keeps_from_a_total_is_told_beside_it(business: SampleBusiness) -> None:
    [(worth, more)] = business.installation.ask(
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
            (SELECT units * price FROM refused WHERE key = {NEVER_SEEN}),
            (
                SELECT (units - units_sold) * price
                FROM refused JOIN current_sales_order ON sales_order_id = key
                WHERE key = {REFUSED}
            )
        """
    )
    looked = look(business.served, period="all")
    missing, outdated = (text.own(text.money(one, "GBP")) for one in (worth, more))
    said = [caption.value for caption in looked.caption]
    of_revenue = [f"Missing: 1 row in quarantine, worth {missing}" in each for each in said]
    assert of_revenue.count(True) == 2  # and of the margin
    assert any(
        "1 row counted in an older version: with the newer in quarantine it would be "
        f"{outdated} more" in each
        for each in said
    )
    pipeline = look(business.served, "pipeline")
    refused = next(table for table in tables_of(pipeline) if "reason" in table)
    assert "fact_sales_order" in set(refused["star_table"])


@pytest.mark.bare
def test_an_empty_warehouse_is_told_with_what_to_do(warehouse: EmptyWarehouse) -> None:
    fresh = look(Served(warehouse.reader))
    assert not fresh.exception
    assert "totes warehouse migrate" in words(fresh)
    migrate(warehouse.dsn)
    empty = look(Served(warehouse.reader))
    assert [title.value for title in empty.title] == ["No data yet"]
    assert "totes run --once" in words(empty)


def test_a_warehouse_that_is_away_is_told_with_what_to_do() -> None:
    away = Dsn(f"postgresql://nobody@127.0.0.1:{free_port(wanted=0)}/none")
    looked = look(Served(away), "sales")
    assert not looked.exception
    assert [title.value for title in looked.title] == ["The warehouse can't be reached"]
    assert "totes check" in words(looked)
    assert "goes on by itself" in words(looked)
    assert "nobody" not in words(looked)  # where the warehouse is, and who asks, is for the log
    assert "127.0.0.1" not in words(looked)
    assert {link.proto.label for link in looked.get("page_link")} == set(PAGES.values())


def test_what_the_warehouse_has_lost_is_told_and_the_page_comes_back(
    business: SampleBusiness,
) -> None:
    business.installation.ask("ALTER TABLE totes.batches RENAME TO aside")
    try:
        looked = look(business.served, "sales", period="all")
    finally:
        business.installation.ask("ALTER TABLE totes.aside RENAME TO batches")
    assert not looked.exception
    assert [title.value for title in looked.title] == ["The warehouse can't be read"]
    assert "goes on by itself" in words(looked)
    assert "aside" not in words(looked)
    assert [link.proto.label for link in looked.get("page_link")] == list(PAGES.values())
    looked.run()
    assert [title.value for title in looked.title] == [PAGES["sales"]]


def test_a_page_that_breaks_off_says_so_above_what_it_shows_and_where_it_ends(
    business: SampleBusiness,
) -> None:
    business.installation.ask("ALTER VIEW current_purchase_order RENAME TO aside")
    try:
        looked = look(business.served, "purchases", period="all")
    finally:
        business.installation.ask("ALTER VIEW aside RENAME TO current_purchase_order")
    assert not looked.exception
    assert "aside" not in words(looked)
    assert "goes on by itself" in words(looked)
    shown = [element.type for element in looked.main]
    assert shown.index("error") < shown.index("title") < shown.index("metric")
    assert shown[-1] == "error"
    for error in looked.error:
        assert "The warehouse can't be read" in error.value
    assert "`totes check` says what is wrong" in looked.error[0].value
    spend = metric(looked, "Spend").value
    looked.run()
    assert not looked.error
    assert "goes on by itself" not in words(looked)
    assert metric(looked, "Spend").value == spend


def test_a_locked_warehouse_is_told_with_its_filters_kept(business: SampleBusiness) -> None:
    with psycopg.connect(business.installation.warehouse.reveal()) as connection:
        connection.execute("LOCK TABLE totes.batches IN ACCESS EXCLUSIVE MODE")
        looked = look(business.served, "overview", period="all")
    assert not looked.exception
    assert [title.value for title in looked.title] == ["The warehouse is locked just now"]
    assert "being rebuilt" in words(looked)
    assert "goes on by itself" in words(looked)
    links = looked.get("page_link")
    assert [link.proto.query_string for link in links] == ["period=all"] * len(PAGES)
    looked.run()
    assert [title.value for title in looked.title] == [PAGES["overview"]]


def test_old_data_is_told_with_what_to_do(business: SampleBusiness) -> None:
    old = "UPDATE totes.checks SET checked_at = checked_at - interval '{} hours'"
    business.installation.ask(
        "UPDATE totes.batches SET captured_at = captured_at - interval '2 hours'"
    )
    business.installation.ask(old.format(2))
    try:
        looked = look(business.served)
        assert re.search(r"checked 2\.\d h ago", words(looked))
        assert "Is `totes run` running?" in words(looked)
    finally:
        business.installation.ask(old.format(-2))
        business.installation.ask(
            "UPDATE totes.batches SET captured_at = captured_at + interval '2 hours'"
        )


def test_new_data_is_looked_for_often_enough_to_be_shown_within_ten_seconds() -> None:
    assert timedelta(seconds=5) >= EVERY
    assert DEADLINE_SECONDS == 30 * 60


def test_nobody_is_told_that_the_dashboard_runs() -> None:
    assert OPTIONS["browser.gatherUsageStats"] is False
    assert OPTIONS["server.fileWatcherType"] == "none"
    assert OPTIONS["client.showErrorDetails"] == "none"
    assert OPTIONS["client.showErrorLinks"] is False


def test_a_role_that_may_write_and_a_port_that_is_taken_are_refused(
    business: SampleBusiness,
) -> None:
    installation = business.installation
    writer = installation.having(dashboard_dsn=installation.warehouse.reveal()).totes("dashboard")
    assert writer.exit_code == 2
    assert "who may create schemas in database" in writer.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        reader = installation.having(dashboard_dsn=business.reader.reveal())
        refused = reader.totes("dashboard", "--port", port)
    assert refused.exit_code == 2
    assert "Choose another with --port" in refused.stderr


def test_the_address_is_one_that_a_browser_can_open() -> None:
    assert url("::", 8501) == "http://127.0.0.1:8501"
    assert url("::1", 1) == "http://[::1]:1"


KILLED = """
import sys, time
from pathlib import Path
from totes.config.settings import Settings
from totes.demo.dashboard import dashboard
with dashboard(Settings(home=Path(sys.argv[1])), look=False) as address:
    print(address, flush=True)
    time.sleep(600)
"""
"""A demonstration as far as its dashboard is concerned."""


def test_the_demos_dashboard_ends_with_it_also_where_it_was_killed(
    business: SampleBusiness, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env=os.environ | business.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        address = demo.stdout.readline().strip()
        log = tmp_path / "dashboard.log"
        await_that(lambda: answers(address), log)
        demo.kill()
    await_that(lambda: not answers(address), log)


def answers(address: str) -> bool:
    try:
        urlopen(f"{address}/_stcore/health", timeout=SECONDS).close()  # noqa: S310  http
    except OSError:
        return False
    return True


def await_that(what: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
