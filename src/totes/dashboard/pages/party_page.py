"""The page of a counterparty or a member of staff: sales, purchases, debts and changes."""

from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from totes.dashboard import charts, metrics, text
from totes.dashboard.components import drill, totals
from totes.dashboard.components.changes_table import changes_table
from totes.dashboard.components.money import rates_note
from totes.dashboard.components.rows import RowQuery, rows
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import changes, overview, payments, purchases, records, sales
from totes.dashboard.navigation.view import LINKED_PAGES, View, in_url

FINDERS: Mapping[str, str] = {"counterparty": "Customer or supplier", "staff": "Member of staff"}

_ORDER = {
    "value": "Amount, {}",
    "created_date": "Created on",
    "counterparty": "Counterparty",
    "staff": "Staff",
    "currency": "Currency",
    "amount": "Amount (order currency)",
    "agreed_delivery_date": "Delivery due",
    "agreed_payment_date": "Payment due",
}

_PAYMENT = {
    "payment_id": "Payment id",
    "value": "Amount, {}",
    "kind": "Payment type",
    "counterparty": "Counterparty",
    "payment_date": "Due on",
    "days_overdue": "Days overdue",
    "currency": "Currency",
    "amount": "Amount (payment currency)",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}

LISTS: Mapping[str, tuple[str, RowQuery, Mapping[str, str]]] = {
    "Sales orders": ("sales_order", sales.rows, {"sales_order_id": "Order id"} | _ORDER),
    "Purchase orders": (
        "purchase_order",
        purchases.rows,
        {"purchase_order_id": "Order id"} | _ORDER,
    ),
    "Open payments": ("payment", payments.open_rows, _PAYMENT),
    "Completed payments": (
        "payment",
        payments.rows,
        {name: label for name, label in _PAYMENT.items() if name != "days_overdue"},
    ),
}

CHANGES = "Changes"

DAYS_TO_PAY = (
    "Average days from the creation of a payment until totesys marked it as paid, of the payments "
    "that were paid in this period, without refunds."
)


def show(page: View, kind: str) -> None:
    """Draw the page of the counterparty or member of staff (`kind`) that the URL's `id` names."""
    st.title(LINKED_PAGES[kind])
    names = records.parties(page.reading, kind)
    key = st.selectbox(
        FINDERS[kind],
        list(names),
        index=None,
        format_func=lambda key: f"{text.plain(names[key][0])} (id {key})",
        placeholder="Type a part of the name",
        **in_url("id", list(names), None),
    )
    if key is None:
        return
    st.text(", ".join(map(text.plain, names[key])))
    st.caption(totals.periods(page))
    rates_note(page)
    if kind == "counterparty":
        if set(page.criteria.counterparties) - {key}:
            st.caption("The filter by counterparty does not apply to this page.")
        criteria = replace(page.criteria, counterparties=(key,))
    else:
        criteria = replace(page.criteria, staff=(key,))
    _totals(page, criteria)
    _chart(page, criteria)
    _lists(page, criteria)


def _totals(page: View, criteria: Filter) -> None:
    paid = payments.summary(page.reading, criteria)
    previous, start = totals.versus_previous(page), totals.versus_start(page)
    with totals.cards("party", across=4):
        for figure, versus in (
            (sales.total(page.reading, criteria), previous),
            (purchases.total(page.reading, criteria), previous),
            (paid.cash_in, previous),
            (paid.cash_out, previous),
            (paid.receivable, start),
            (paid.overdue_receivable, start),
            (paid.payable, start),
            (paid.overdue_payable, start),
        ):
            totals.total(page, figure, versus=versus)
    days = payments.days_to_pay(page.reading, criteria)
    with totals.cards("party-days", across=2):
        for way, label in (("in", "Days until we were paid"), ("out", "Days until we paid")):
            st.metric(
                label,
                "-" if days[way].average is None else f"{days[way].average}",
                text.count(days[way].payments, "payment")
                + (
                    f", {days[way].average_late} days late on average" if days[way].payments else ""
                ),
                delta_arrow="off",
                delta_color="off",
                help=DAYS_TO_PAY,
                border=True,
                height="stretch",
            )


def _chart(page: View, criteria: Filter) -> None:
    grain = metrics.default_grain(criteria)
    series = charts.trim_empty_periods(
        overview.over_time(page.reading, criteria, grain), ("revenue", "purchases", "unconverted")
    )
    st.header("Sales and purchases")
    columns = {"revenue": "Revenue", "purchases": "Purchases"}
    if not charts.has_data(series, columns):
        st.text("No sales or purchases in this period.")
        return
    incomplete = drill.are_incomplete(page, series, grain)
    chart = charts.lines(
        series, columns, grain, page.currency, dark=page.dark, incomplete=incomplete
    )
    charts.show(chart, key="party-series")


def _lists(page: View, criteria: Filter) -> None:
    labels = [*LISTS, CHANGES]
    tabs = st.tabs(labels, **in_url("tab", labels, labels[0]))  # only the open tab is queried
    for tab, label in zip(tabs, labels, strict=True):
        if not tab.open:
            continue
        with tab:
            if label == CHANGES:
                _changes(page, criteria)
                continue
            kind, query, columns = LISTS[label]
            rows(page, kind, label, _narrowed(query, criteria), columns, open_at=True, name="party")


def _changes(page: View, criteria: Filter) -> None:
    captured = changes.captured_in(page.reading, criteria)
    st.header(f"Changes captured {text.period(captured.since, captured.until)}")
    changes_table(
        page, captured, changes.ALL, key="party-changes", alt="Changed values, the newest first."
    )


def _narrowed(query: RowQuery, narrowed: Filter) -> RowQuery:
    """Return the query for the orders and payments of the page's counterparty or staff."""
    return lambda reading, criteria, *, limit: query(reading, narrowed, limit=limit)  # noqa: ARG005
