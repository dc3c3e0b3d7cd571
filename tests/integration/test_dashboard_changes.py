"""The changes of orders and payments, and the pages of single records and counterparties."""

import pytest
from dashboard_page import labelled, metric, open_page, tables_of, words
from replicas import open_reading
from sample_business import CHANGED, DELETED, TWINS, SampleBusiness
from streamlit.testing.v1 import AppTest

from totes.dashboard import text
from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import payments, purchases, sales

pytestmark = pytest.mark.few(5)


def links(looked: AppTest) -> list[tuple[str, str]]:
    """The links of a page without those of the navigation: label and query."""
    shown = [(one.proto.label, one.proto.query_string) for one in looked.main.get("page_link")]
    return [(label, query.replace("period=last-30-days&", "")) for label, query in shown]


def test_the_changes_page_marks_silent_changes_and_says_what_they_are_worth(
    business: SampleBusiness,
) -> None:
    [(before, after)] = business.installation.query(
        "SELECT min(units_sold * unit_price), max(units_sold * unit_price)"
        f" FROM fact_sales_order WHERE sales_order_id = {CHANGED}"
    )
    looked = open_page(business.backends, "changes", kind="sales_order", column="unit_price")
    [table] = tables_of(looked)
    assert table[["key", "column", "after", "mark"]].to_numpy().tolist() == [
        [CHANGED, "Unit price", "9.75", "silent"]
    ]
    assert "GBP" in words(looked)
    assert "Compare with" not in [one.label for one in looked.selectbox]
    [(currency,)] = business.installation.query(
        "SELECT currency_code FROM current_sales_order JOIN dim_currency USING (currency_id)"
        f" WHERE sales_order_id = {CHANGED}"
    )
    looked = open_page(business.backends, "changes", kind="sales_order", **{"in": currency})
    [table] = tables_of(looked)
    assert [*table["value_change"].dropna()][-1] == after - before
    looked = open_page(business.backends, "changes", silent="True")
    assert not looked.exception
    assert set(tables_of(looked)[0]["mark"]) == {"silent"}
    assert metric(looked, "Silent changes").value == metric(looked, "Changes").value == "1"
    labelled(looked.toggle, "Silent changes only").set_value(False).run()
    assert "silent" not in looked.query_params
    assert metric(looked, "Changes").value == "3"
    assert metric(looked, "Records changed").delta == "2 deleted"
    deleted = next(t for t in tables_of(looked) if "deleted" in set(t["after"]))
    assert set(deleted["key"][deleted["type"] == "Sales order"]) == {CHANGED, DELETED}


def test_changes_are_those_of_the_period_of_the_capture_and_of_the_filter(
    business: SampleBusiness,
) -> None:
    empty = open_page(business.backends, "changes", **{"from": "2020-01-01", "to": "2020-01-31"})
    assert not empty.exception
    assert "No changes were captured in this period." in words(empty)
    [(customer,)] = business.installation.query(
        f"SELECT counterparty_id FROM current_sales_order WHERE sales_order_id = {CHANGED}"
    )
    looked = open_page(business.backends, "changes", counterparty=str(customer))
    assert set(tables_of(looked)[0]["key"]) == {CHANGED}


def test_a_record_shows_amount_status_and_links_to_what_belongs_to_it(
    business: SampleBusiness,
) -> None:
    [(payment, customer, staff)] = business.installation.query(
        "SELECT payment_id, sale.counterparty_id, sales_staff_id"
        " FROM current_sales_order AS sale JOIN dim_transaction USING (sales_order_id)"
        " JOIN current_payment USING (transaction_id)"
        f" WHERE sales_order_id = {CHANGED}"
    )
    looked = open_page(business.backends, "history", kind="sales_order", key=str(CHANGED))
    assert not looked.exception
    assert (f"Payment {payment}", f"kind=payment&key={payment}") in links(looked)
    assert (f"Counterparty {customer}", f"id={customer}") in links(looked)
    assert (f"Staff member {staff}", f"id={staff}") in links(looked)
    said = words(looked)
    assert "Units sold: " in said
    assert "Changed silently" in said
    looked = open_page(business.backends, "history", kind="payment", key=str(payment))
    assert (f"Sales order {CHANGED}", f"kind=sales_order&key={CHANGED}") in links(looked)
    assert metric(looked, "Payment").value in {"Paid", "Open", "Overdue"}
    deleted = open_page(business.backends, "history", kind="sales_order", key=str(DELETED))
    assert metric(deleted, "Status").value == "Deleted"


def test_search_finds_records_by_id_and_by_counterparty(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "history", q=str(CHANGED))
    found = {label for label, _ in links(looked)}
    assert {f"{kind} {CHANGED}" for kind in ("Sales order", "Purchase order", "Payment")} <= found
    field = labelled(looked.text_input, "Find an order, payment, counterparty or member of staff")
    field.set_value(TWINS.lower()[:6]).run()
    assert looked.query_params["q"] == TWINS.lower()[:6]
    [*keys] = business.installation.query(
        f"SELECT counterparty_id FROM dim_counterparty WHERE counterparty_legal_name = '{TWINS}'"
    )
    assert {f"Counterparty {key}" for (key,) in keys} <= {label for label, _ in links(looked)}
    assert any(label.startswith("Sales order") for label, _ in links(looked))
    nothing = open_page(business.backends, "history", q="no such <b>name</b>")
    assert not nothing.exception
    assert "Nothing was found for “no such <b>name</b>”." in words(nothing)


def test_the_search_of_the_sidebar_leads_to_the_records(business: SampleBusiness) -> None:
    looked = open_page(business.backends, "sales", period="all")
    labelled(looked.text_input, "Find a record").set_value(str(CHANGED)).run()
    assert [title.value for title in looked.title] == ["Records"]
    assert looked.query_params == {"period": "all", "q": str(CHANGED)}
    assert f"Sales order {CHANGED}" in {label for label, _ in links(looked)}
    assert not labelled(looked.text_input, "Find a record").value


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("page", "column"), [("counterparty", "counterparty_id"), ("staff", "sales_staff_id")]
)
def test_the_page_of_a_party_has_its_sales_debts_and_changes(
    business: SampleBusiness, page: str, column: str
) -> None:
    [(key, orders)] = business.installation.query(
        f"SELECT {column}, count(*) FROM current_sales_order WHERE {column} ="
        f" (SELECT {column} FROM current_sales_order WHERE sales_order_id = {CHANGED}) GROUP BY 1"
    )
    query = {"id": str(key), "period": "all"}
    looked = open_page(business.backends, page, **query)
    assert not looked.exception
    [table] = tables_of(looked)
    assert len(table) == orders
    value = text.money(sum(table["value"]), "GBP")
    assert metric(looked, "Revenue").value == value
    changes = open_page(business.backends, page, **query, tab="Changes")
    assert not changes.exception
    assert CHANGED in set(tables_of(changes)[-1]["key"])
    for tab in ("Purchase orders", "Open payments", "Completed payments"):
        assert not open_page(business.backends, page, **query, tab=tab).exception
    if page == "counterparty":
        filtered = open_page(business.backends, page, **query, counterparty=str(key + 1))
        assert metric(filtered, "Revenue").value == value
        assert "The filter by counterparty does not apply to this page." in words(filtered)
    unknown = open_page(business.backends, page, id="999999")
    assert "does not exist" in words(unknown)
    assert not unknown.metric


def test_the_numbers_of_all_members_of_staff_add_up_to_the_total(business: SampleBusiness) -> None:
    staff = [key for (key,) in business.installation.query("SELECT staff_id FROM dim_staff")]
    [(paid, days, late)] = business.installation.query(
        "SELECT count(*), sum(last_updated_date - created_date),"
        " sum(greatest(last_updated_date - payment_date, 0))"
        " FROM current_payment JOIN dim_payment_type USING (payment_type_id)"
        " WHERE paid AND payment_type_name = 'SALES_RECEIPT'"
    )

    def numbers(criteria: Filter) -> list[int]:
        to_pay = payments.days_to_pay(reading, criteria)["in"]
        found = payments.summary(reading, criteria)
        counted = (sales.total(reading, criteria), purchases.total(reading, criteria))
        debts = (found.receivable, found.overdue_receivable, found.payable, found.cash_in)
        counts = [one.count for one in (*counted, *debts)]
        return [to_pay.payments, to_pay.days, to_pay.days_late, *counts]

    with open_reading(business.reader) as reading:
        every = numbers(Filter(*ALL_DAYS))
        each = [numbers(Filter(*ALL_DAYS, staff=(key,))) for key in staff]
    assert every[:3] == [paid, days, late]
    assert [sum(column) for column in zip(*each, strict=True)] == every
    assert max(each) < every
