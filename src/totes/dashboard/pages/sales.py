"""Sales by period, country and other dimensions."""

import streamlit as st

from totes.dashboard import text
from totes.dashboard.components import tables, totals
from totes.dashboard.metrics import Total, sales
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.view import View, in_url, view
from totes.dashboard.pages.order_page import OrderPage, show_orders

SALES = OrderPage(
    title="Sales",
    source=sales,
    kind="sales_order",
    row_title="Sales orders",
    units="units",
    dimensions={
        "country": "Delivery country",
        "design": "Design",
        "counterparty": "Counterparty",
        "staff": "Member of staff",
        "department": "Department",
        "currency": "Currency",
    },
    row_columns={
        "sales_order_id": "Order id",
        "value": "Amount, {}",
        "created_date": "Created on",
        "counterparty": "Counterparty",
        "country": "Delivery country",
        "city": "Delivery city",
        "design": "Design",
        "staff": "Staff",
        "department": "Department",
        "units": "Units",
        "unit_price": "Unit price",
        "currency": "Currency",
        "amount": "Amount (order currency)",
        "rate": "Exchange rate",
        "agreed_delivery_date": "Delivery due",
        "agreed_payment_date": "Payment due",
    },
)

TOP_DESIGNS_DAYS = 93
"""In longer periods the top designs, which read each order, are shown only on request."""


def _cards(page: View) -> Total:
    summary = sales.summary(page.reading, page.criteria)
    versus = totals.versus_previous(page)
    totals.total(page, summary.revenue, versus=versus)
    for name, now, before in (
        ("sales_orders", summary.orders, summary.orders_before),
        ("units", summary.units, summary.units_before),
        ("average_price", summary.average_price, summary.average_price_before),
    ):
        totals.number(page, name, now, before, versus=versus)
    for _, row in sales.new_and_returning(page.reading, page.criteria).iterrows():
        metric = METRICS[f"{row['kind']}_customers"]
        st.metric(
            metric.label,
            f"{row['counterparties']:,}",
            f"{text.count(row['orders'], 'order')}, {text.money(row['value'], page.currency)}",
            delta_arrow="off",
            delta_color="off",
            help=metric.help
            + (
                f" Not converted: {text.count(int(row['unconverted']), 'order')}."
                if row["unconverted"]
                else ""
            ),
            border=True,
            height="stretch",
        )
    return summary.revenue


def _top_designs(page: View) -> None:
    st.header("Top designs by country")
    if page.criteria.days > TOP_DESIGNS_DAYS and not st.toggle(
        "Show top designs", **in_url("top-designs-shown", [True], default=False)
    ):
        return
    designs = sales.top_designs(page.reading, page.criteria)
    tables.table(
        designs,
        {
            "design": "Design",
            "country": "Country",
            "place": "Rank",
            "value": f"Revenue, {page.currency}",
            "orders": "Orders",
            "units": "Units",
            "unconverted": "Not converted",
        },
        key="sales-top-designs",
        file_name=f"totes-top-designs_{page.file_name}",
        alt="The three designs with the highest revenue in each country.",
    )


show_orders(view(), SALES, _cards, _top_designs)
