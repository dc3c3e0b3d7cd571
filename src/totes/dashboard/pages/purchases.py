"""What was bought, from whom, by whom, and what is to be delivered."""

import pandas as pd
import streamlit as st

from totes.dashboard import charts, drill, metrics, narrow, rows, tables, text, totals
from totes.dashboard.metrics import purchases
from totes.dashboard.money import rates_note
from totes.dashboard.view import View, view

DIMENSIONS = {
    "counterparty": "Counterparty",
    "item": "Item",
    "staff": "Member of staff",
    "department": "Department",
    "country": "Supplier's country",
    "currency": "Currency",
}

ROW_COLUMNS = {
    "purchase_order_id": "Order id",
    "value": "Amount, {}",
    "created_date": "Day",
    "counterparty": "Counterparty",
    "country": "Supplier's country",
    "item": "Item",
    "staff": "Staff",
    "department": "Department",
    "quantity": "Quantity",
    "unit_price": "Unit price",
    "currency": "Currency",
    "amount": "Amount in it",
    "rate": "Rate",
    "agreed_delivery_date": "Delivery",
    "city": "Delivery to",
    "delivery_country": "Country of delivery",
    "agreed_payment_date": "Payment due",
}


def show(page: View) -> None:
    """Draw spending by time, supplier, item and staff, and agreed deliveries."""
    chosen, currency = page.chosen, page.currency
    st.title("Purchases")
    drill.way_back(page)
    rates_note(page)
    found = purchases.summary(page.reading, chosen)
    with totals.cards("purchases"):
        totals.total(found.spend, "Spend", currency, better="")
        totals.number("Orders", f"{found.orders:,}", found.orders, found.orders_before)
        totals.number("Items", f"{found.quantity:,}", found.quantity, found.quantity_before)
    grain = metrics.fitting_grain(chosen)
    series = purchases.over_time(page.reading, chosen, grain)
    st.subheader(f"Spend by {grain}, {text.period(chosen.since, chosen.until)}")
    says = drill.bars(
        page, series, "value", "Spend", grain, tooltips={"orders": "Orders", "quantity": "Items"}
    )
    with st.expander("As a table"):
        tables.table(
            series,
            {
                "start": f"{grain.capitalize()} from",
                "value": f"Spend, {currency}",
                "orders": "Orders",
                "quantity": "Items",
                "unconverted": "Not converted",
            },
            key="purchases-series",
            file_name=f"totes-purchases_{page.file_name}",
            alt=says,
        )
    _by(page, found)
    _deliveries(page)
    rows.rows(
        page,
        "purchase_order",
        "Purchase orders",
        purchases.rows,
        ROW_COLUMNS,
        open_at=chosen.days == 1,
    )


def _by(page: View, all_of_it: purchases.PurchasesSummary) -> None:
    st.subheader("From whom, of what and by whom")
    tabs = st.tabs(
        list(DIMENSIONS.values()), key="purchases-by", on_change="rerun"
    )  # only the one that is seen is asked for
    for tab, (name, heading) in zip(tabs, DIMENSIONS.items(), strict=True):
        if not tab.open:
            continue
        with tab:
            found = purchases.by(page.reading, page.chosen, name, limit=rows.MOST_RANKED)
            if name == "country":
                found = charts.by_country(found)
            if found.empty:
                st.text("Nothing was bought in this period.")
                continue
            if len(found) == rows.MOST_RANKED:
                st.caption(f"The {rows.MOST_RANKED:,} that most was spent on.")
            says = narrow.ranked(
                page,
                _with_the_rest(found, all_of_it),
                "Spend",
                name,
                f"purchases-by-{name}",
                tooltips={"orders": "Orders"},
            )
            tables.table(
                found,
                {
                    "name": heading,
                    "value": f"Spend, {page.currency}",
                    "orders": "Orders",
                    "quantity": "Items",
                    "unconverted": "Not converted",
                },
                key=f"purchases-table-{name}",
                file_name=f"totes-purchases-by-{name}_{page.file_name}",
                alt=says,
            )


def _with_the_rest(found: tables.Frame, all_of_it: purchases.PurchasesSummary) -> tables.Frame:
    """The rows and, where they are not all, one more for all others together."""
    if len(found) < rows.MOST_RANKED:
        return found
    shown = charts.added(found["value"])
    every = all_of_it.spend.value
    rest = {
        "name": "others",
        "value": None if every is None or shown is None else every - shown,
        "orders": all_of_it.orders - found["orders"].sum(),
    }
    return pd.concat([found, pd.DataFrame([rest]).astype(object)], ignore_index=True)


def _deliveries(page: View) -> None:
    st.subheader(f"Deliveries agreed, from {page.today} on")
    key = "purchases-deliveries"
    found = rows.first(
        key, lambda limit: purchases.deliveries(page.reading, page.chosen, limit=limit)
    )
    tables.table(
        found,
        {
            "agreed_delivery_date": "Day",
            "value": f"Amount, {page.currency}",
            "days": "In days",
            "counterparty": "Counterparty",
            "item": "Item",
            "quantity": "Quantity",
            "city": "To",
            "delivery_country": "Country of delivery",
            "country": "Supplier's country",
            "purchase_order_id": "Order id",
        },
        key=key,
        file_name=f"totes-deliveries_{page.file_name}",
        alt=f"Deliveries that were agreed for {page.today} and later, the soonest first.",
        empty=f"No delivery is agreed for {page.today} or later.",
    )


show(view())
