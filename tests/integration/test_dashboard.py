"""Pages of the dashboard: their data, texts and tables."""

import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from dashboard_page import MARKDOWN_ELEMENTS, metric, open_page, tables_of, words
from sample_business import (
    CHANGED,
    MARKDOWN,
    SCRIPT,
    TWINS,
    SampleBusiness,
)

from totes.dashboard import charts, text
from totes.dashboard.components import tables, totals
from totes.dashboard.navigation.view import PAGES

pytestmark = pytest.mark.few(5)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_its_data_and_how_current_it_is(
    business: SampleBusiness, page: str
) -> None:
    looked = open_page(business.backends, page, period="all")
    assert not looked.exception
    assert [title.value for title in looked.title] == [PAGES[page]]
    said = words(looked)
    fresh = r"^Data as of \d\d:\d\d UTC.*\. Up to date: totesys checked \d+ (s|min) ago\. Not verif"
    assert re.search(fresh, said, re.MULTILINE)
    assert re.search(r"\. \d+ rows? in quarantine\.$", said, re.MULTILINE)
    assert "Out of date" not in said
    assert tables_of(looked) or page in {"history", "report", "alerts"}
    if page not in {"history", "dictionary", "alerts"}:
        [(newest, through, source)] = business.installation.query(
            "SELECT max(rate_date) FILTER (WHERE NOT carried_forward), max(rate_date), max(source)"
            " FROM current_exchange_rate WHERE rate_date <= now() AND currency_code = 'USD'"
        )
        assert newest < through
        assert f"ates to {text.day(newest)}" in said.replace("Rates to\n", "Rates to ")
        assert source in said
        assert "use the last rate" in said


@pytest.mark.few(2)
@pytest.mark.parametrize("page", ["overview", "sales", "purchases", "payments"])
def test_a_period_without_data_has_texts_instead_of_charts(
    business: SampleBusiness, page: str
) -> None:
    looked = open_page(business.backends, page, **{"from": "1999-01-01", "to": "1999-01-31"})
    assert not looked.exception
    assert "No data in this period." in words(looked)  # in the place of an empty chart
    assert "Drill into a day" not in [choice.label for choice in looked.selectbox]
    if page in {"sales", "purchases"}:
        assert "No orders in this period" in words(looked)


@pytest.mark.few(2)
@pytest.mark.parametrize("page", ["payments", "changes", "explore", "report"])
def test_a_filter_without_rows_breaks_no_page(business: SampleBusiness, page: str) -> None:
    nothing = {"currency": "EUR", "department": "Production", "country": "Austria"}
    assert not open_page(business.backends, page, **nothing).exception


@pytest.mark.few(3)
@pytest.mark.parametrize("page", PAGES)
def test_texts_of_the_warehouse_are_never_markdown_or_html(
    business: SampleBusiness, page: str
) -> None:
    query = {"kind": "sales_order", "key": str(CHANGED)}
    tab = {"tab": "Design"} if page == "sales" else {}
    looked = open_page(business.backends, page, period="all", **query, **tab)
    for kind in (*MARKDOWN_ELEMENTS, "html"):
        for element in looked.get(kind):
            for name in ("value", "label", "body", "delta", "help"):
                shown = str(getattr(element, name, ""))
                assert SCRIPT not in shown
                assert MARKDOWN not in shown or kind == "html"
    if page == "sales":
        designs = next(t for t in tables_of(looked) if "share" in t and SCRIPT in set(t["name"]))
        assert MARKDOWN in set(designs["name"])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("page", "tabs"),
    [
        (
            "sales",
            {"Delivery country", "Design", "Counterparty", "Member of staff", "Department"}
            | {"Currency"},
        ),
        (
            "purchases",
            {"Counterparty", "Item", "Member of staff", "Department", "Supplier's country"}
            | {"Currency"},
        ),
    ],
)
def test_a_tab_is_queried_when_it_is_opened(
    business: SampleBusiness, page: str, tabs: set[str]
) -> None:
    looked = open_page(business.backends, page, period="all")
    assert {tab.label for tab in looked.tabs} == tabs
    assert [tab.label for tab in looked.tabs if tables_of(tab)] == [looked.tabs[0].label]
    for name in tabs:
        looked = open_page(business.backends, page, period="all", tab=name)
        assert not looked.exception
        [opened] = [tab for tab in looked.tabs if tables_of(tab)]
        assert opened.label == name
        shown = tables_of(opened)[0]
        card = {"sales": "Sales orders", "purchases": "Purchase orders"}[page]
        assert f"{shown['orders'].sum():,}" == metric(looked, card).value
        for element in (*opened.markdown, *opened.caption):
            assert SCRIPT not in element.value
            assert MARKDOWN not in element.value


def test_the_top_items_are_shown_and_the_others_are_summed(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.dashboard.pages.order_page.RANKED_LIMIT", 9)
    drawn = []
    ranked = charts.ranked

    def noted(frame: pd.DataFrame, *arguments: Any, **named: Any) -> charts.Chart:
        drawn.append(frame)
        return ranked(frame, *arguments, **named)

    monkeypatch.setattr(charts, "ranked", noted)
    looked = open_page(business.backends, "purchases", period="all", tab="Item")
    assert not looked.exception
    [opened] = [tab for tab in looked.tabs if tables_of(tab)]
    assert len(tables_of(opened)[0]) == 9
    assert opened.caption[0].value == "Top 9 by amount."
    [frame] = drawn
    assert metric(looked, "Purchase orders").value == f"{frame['orders'].sum():,}"
    assert metric(looked, "Purchases").value == text.money(sum(frame["value"], Decimal(0)), "GBP")


def test_deliveries_show_the_delivery_country_and_the_suppliers(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = business.installation.query(
        "SELECT purchase_order_id, place.city, place.country, counterparty_legal_country"
        " FROM current_purchase_order JOIN dim_counterparty USING (counterparty_id)"
        " JOIN dim_location AS place ON place.location_id = agreed_delivery_location_id"
    )
    expected = {key: values for key, *values in rows}
    assert any(there != home for _, there, home in expected.values())
    query = {"rows-purchase_order-shown": "True"}
    looked = open_page(business.backends, "purchases", period="all", **query)
    coming, every = (
        next(table for table in tables_of(looked) if name in table and "city" in table)
        for name in ("days", "created_date")
    )
    assert 2 < len(coming) < len(every) == len(expected)
    for table in (coming, every):
        shown = table[["city", "delivery_country", "country"]].to_numpy().tolist()
        assert shown == [expected[key] for key in table["purchase_order_id"]]
    assert "Showing the first" not in words(looked)
    monkeypatch.setattr("totes.dashboard.components.rows.LIMITS", (2, 1000))
    few = open_page(business.backends, "purchases", period="all")
    assert "Showing the first 2 rows; for others, raise the limit or narrow the filter." in words(
        few
    )
    assert len(next(table for table in tables_of(few) if "days" in table)) == 2
    few.radio(key="purchases-deliveries-limit-0").set_value(1000).run()
    assert not few.exception
    assert few.query_params["purchases-deliveries-limit"] == "1000"
    assert "Showing the first" not in words(few)
    assert len(next(table for table in tables_of(few) if "days" in table)) == len(coming)
    few.radio(key="purchases-deliveries-limit-0").set_value(2).run()
    assert "purchases-deliveries-limit" not in few.query_params
    assert len(next(table for table in tables_of(few) if "days" in table)) == 2


def test_the_top_designs_of_a_long_period_are_shown_on_request(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", period="last-12-months")
    assert not any("place" in table for table in tables_of(looked))
    looked.toggle(key="top-designs-shown-0").set_value(True).run()
    assert not looked.exception
    found = next(table for table in tables_of(looked) if "place" in table)
    assert list(found)[:2] == ["design", "country"]
    assert looked.query_params["top-designs-shown"] == "True"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("page", "lists"),
    [
        ("sales", ["rows-sales_order-shown"]),
        ("purchases", ["rows-purchase_order-shown"]),
        ("payments", ["rows-paid-shown"]),
        ("history", []),
    ],
)
def test_rows_with_the_same_name_have_their_id_in_every_table(
    business: SampleBusiness, page: str, lists: list[str]
) -> None:
    [(one, order)] = business.installation.query(
        "SELECT counterparty_id, min(sales_order_id) FROM current_sales_order"
        f" JOIN dim_counterparty USING (counterparty_id) WHERE counterparty_legal_name = '{TWINS}'"
        " GROUP BY 1 ORDER BY 1 LIMIT 1"
    )
    query = {"kind": "sales_order", "key": str(order), **dict.fromkeys(lists, "True")}
    looked = open_page(business.backends, page, period="all", counterparty=str(one), **query)
    assert not looked.exception
    cells = {str(cell) for table in tables_of(looked) for cell in table.to_numpy().ravel()}
    assert f"{TWINS} (id {one})" in cells  # even if the other one is not shown
    assert TWINS not in cells
    if page == "sales":
        designs = {cell for cell in cells if cell.startswith(TWINS) and cell.endswith(")")}
        assert len(designs) > 1


def test_the_revenue_is_that_of_the_warehouse(business: SampleBusiness) -> None:
    [(expected,)] = business.installation.query(
        "SELECT sum(units_sold * unit_price * rate) FROM current_sales_order"
        " JOIN dim_currency USING (currency_id) JOIN exchange_rate_to('GBP') AS r"
        " USING (currency_code) WHERE r.rate_date = created_date"
    )
    looked = open_page(business.backends, period="all")
    assert metric(looked, "Revenue").value == text.money(expected, "GBP")
    assert text.money(expected, "GBP", exact=True) in metric(looked, "Revenue").help


def test_debts_are_two_tables_each_sorted_by_its_own_debt(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "payments", period="all")
    for debt, card in (("receivable", "Receivables"), ("payable", "Payables")):
        table = next(found for found in tables_of(looked) if debt in found)
        amounts = list(table[debt])
        assert len(amounts) > 1
        assert amounts == sorted(amounts, reverse=True)
        assert all(amounts)
        total = text.money(sum(amounts, Decimal()), "GBP")
        assert metric(looked, card).value == total
        exact = text.money(sum(amounts, Decimal()), "GBP", exact=True)
        assert f"**Total: {exact}, overdue: " in words(looked)


@pytest.mark.parametrize(("page", "last"), [("overview", "Margin"), ("sales", "Units")])
def test_a_single_day_is_shown_as_numbers(business: SampleBusiness, page: str, last: str) -> None:
    [(day,)] = business.installation.query("SELECT min(created_date) FROM current_sales_order")
    looked = open_page(business.backends, page, **{"from": str(day), "to": str(day)})
    assert not looked.exception
    numbers = f"{text.day(day)}: Revenue {metric(looked, 'Revenue').value}, "
    line = next(line for line in words(looked).splitlines() if line.startswith(numbers))
    assert f", {last} {metric(looked, last).value}." in line
    assert "Drill into a day" not in [choice.label for choice in looked.selectbox]


def third_and_fourth_day(business: SampleBusiness) -> dict[str, str]:
    """Return the URL's parameters for two days, which are compared with the first two."""
    [(first,)] = business.installation.query(
        "SELECT greatest((SELECT min(created_date) FROM current_sales_order),"
        " (SELECT min(created_date) FROM current_purchase_order))"
    )
    return {"from": str(first + timedelta(days=2)), "to": str(first + timedelta(days=3))}


def test_changes_of_purchases_are_neither_good_nor_bad(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "purchases", **third_and_fourth_day(business))
    for label in ("Purchases", "Purchase orders", "Items"):
        card = metric(looked, label)
        assert card.delta.endswith(("%", "no change")), label
        assert card.proto.color == card.proto.MetricColor.GRAY, label
        assert card.help.endswith(totals.COLOURS)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("page", "label"),
    [
        *(("overview", "Revenue"), ("sales", "Sales orders")),
        *(("purchases", "Purchases"), ("payments", "Cash in")),
    ],
)
def test_the_previous_value_and_its_period_are_shown(
    business: SampleBusiness, page: str, label: str
) -> None:
    days = third_and_fourth_day(business)
    since, until = (date.fromisoformat(day) - timedelta(days=2) for day in days.values())
    looked = open_page(business.backends, page, compare="previous", **days)
    assert f"compared with {text.period(since, until)}." in words(looked)
    assert f"Dotted: previous period ({text.period(since, until)})." in words(looked)
    earlier = open_page(business.backends, page, **{"from": str(since), "to": str(until)})
    described = metric(looked, label).proto.delta_description
    assert described == f"vs previous 2 days ({metric(earlier, label).value})"
    without = metric(open_page(business.backends, page, compare="none", **days), label)
    assert (without.delta, without.value) == ("", metric(looked, label).value)


def test_payments_that_are_not_covered_are_compared_with_overdue_ones(
    business: SampleBusiness,
) -> None:
    said = words(open_page(business.backends, "payments", period="all"))
    assert re.search(r"^(\d+ of the \d+|These are all|No) overdue receivables", said, re.MULTILINE)
    assert re.search(r"^(\d+ of the \d+|These are all|No) overdue payables", said, re.MULTILINE)


def test_a_value_of_the_url_that_is_no_option_is_reported(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", period="all", tab="Moon")
    assert "Ignored “tab” in the URL: “Moon” does not exist." in words(looked)
    assert tables_of(looked.tabs[0])


def test_a_table_shows_the_number_of_its_rows(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "dictionary")
    rows = len(next(table for table in tables_of(looked) if "meaning" in table and "type" in table))
    assert f"{rows} rows, {tables.VISIBLE_ROWS} visible: scroll in the table" in words(looked)
    whole = open_page(business.backends, "dictionary", **{"dictionary-columns-all": "True"})
    assert re.search(rf"^{rows} rows$", words(whole), re.MULTILINE)
