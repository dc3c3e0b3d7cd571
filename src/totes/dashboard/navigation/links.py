"""Links to the pages of orders, payments, counterparties and staff."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import Filter
from totes.dashboard.navigation.view import link

KINDS: Mapping[str, str] = {
    "sales_order": "Sales order",
    "purchase_order": "Purchase order",
    "payment": "Payment",
}
"""Kinds of records, and their names."""

PARTIES: Mapping[str, str] = {"counterparty": "Counterparty", "staff": "Staff member"}
"""Kinds of parties to a record, and their names."""

ICONS: Mapping[str, str] = {
    "sales_order": ":material/sell:",
    "purchase_order": ":material/shopping_cart:",
    "payment": ":material/payments:",
    "counterparty": ":material/store:",
    "staff": ":material/person:",
}

SELECT_A_ROW = "Select a row for links to its order or payment, its counterparty and its staff."


def name(kind: str, key: int) -> str:
    """Return such as `Sales order 1234`, without texts of the warehouse: links are Markdown."""
    return f"{KINDS.get(kind) or PARTIES[kind]} {key}"


def link_to_record(criteria: Filter, kind: str, key: int) -> None:
    """Show a link to the page of an order, payment, counterparty or member of staff."""
    if kind in PARTIES:
        link(kind, name(kind, key), criteria, ICONS[kind], id=str(key))
    else:
        link("history", name(kind, key), criteria, ICONS[kind], kind=kind, key=str(key))


def row_links(criteria: Filter, row: Mapping[Any, Any]) -> None:
    """Show a link for each of a row's keys, such as `payment_id` and `counterparty_id`."""
    with st.container(horizontal=True):
        for kind in ICONS:
            column = f"{kind}_id"
            if column in row and not text.is_missing(row[column]):
                link_to_record(criteria, kind, int(row[column]))
