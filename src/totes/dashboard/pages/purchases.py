"""Purchases by period and dimension, and agreed deliveries."""

import streamlit as st

from totes.dashboard.components import tables, totals
from totes.dashboard.components.rows import limited
from totes.dashboard.metrics import Total, purchases
from totes.dashboard.navigation.view import View, view
from totes.dashboard.pages.order_page import OrderPage, show_orders

PURCHASES = OrderPage(
    title="Purchases",
    source=purchases,
    kind="purchase_order",
    row_title="Purchase orders",
    units="items",
    dimensions={
        "counterparty": "Counterparty",
        "item": "Item",
        "staff": "Member of staff",
        "department": "Department",
        "country": "Supplier's country",
        "currency": "Currency",
    },
    row_columns={
        "purchase_order_id": "Order id",
        "value": "Amount, {}",
        "created_date": "Created on",
        "counterparty": "Counterparty",
        "country": "Supplier's country",
        "item": "Item",
        "staff": "Staff",
        "department": "Department",
        "items": "Items",
        "unit_price": "Unit price",
        "currency": "Currency",
        "amount": "Amount (order currency)",
        "rate": "Exchange rate",
        "agreed_delivery_date": "Delivery due",
        "city": "Delivery city",
        "delivery_country": "Delivery country",
        "agreed_payment_date": "Payment due",
    },
)


def _cards(page: View) -> Total:
    summary = purchases.summary(page.reading, page.criteria)
    versus = totals.versus_previous(page)
    totals.total(page, summary.spend, versus=versus)
    totals.number(page, "purchase_orders", summary.orders, summary.orders_before, versus=versus)
    totals.number(page, "items", summary.items, summary.items_before, versus=versus)
    return summary.spend


def _deliveries(page: View) -> None:
    st.header(f"Deliveries due from {page.today}")
    key = "purchases-deliveries"
    orders_due = limited(
        key, lambda limit: purchases.deliveries(page.reading, page.criteria, limit=limit)
    )
    tables.table(
        orders_due,
        {
            "agreed_delivery_date": "Delivery due",
            "value": f"Amount, {page.currency}",
            "days": "Days until delivery",
            "counterparty": "Counterparty",
            "item": "Item",
            "items": "Items",
            "city": "Delivery city",
            "delivery_country": "Delivery country",
            "country": "Supplier's country",
            "purchase_order_id": "Order id",
        },
        key=key,
        file_name=f"totes-deliveries_{page.file_name}",
        alt=f"Deliveries due from {page.today}, the earliest first.",
        empty=f"No deliveries due from {page.today}.",
    )


show_orders(view(), PURCHASES, _cards, _deliveries)
