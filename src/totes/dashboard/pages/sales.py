"""What was sold, when, where, of what, to whom and by whom."""

import streamlit as st

from totes.dashboard import charts, drill, metrics, narrow, tables, text, totals
from totes.dashboard.metrics import sales
from totes.dashboard.money import rates_note
from totes.dashboard.rows import rows
from totes.dashboard.view import View, view

HEADINGS = {
    "country": "Country",
    "design": "Design",
    "counterparty": "Counterparty",
    "staff": "Member of staff",
    "department": "Department",
    "currency": "Currency",
}

ROW_COLUMNS = {
    "sales_order_id": "Order id",
    "value": "Amount, {}",
    "created_date": "Day",
    "counterparty": "Counterparty",
    "country": "Country",
    "city": "City",
    "design": "Design",
    "staff": "Staff",
    "department": "Department",
    "units": "Units",
    "unit_price": "Unit price",
    "currency": "Currency",
    "amount": "Amount in it",
    "rate": "Rate",
    "agreed_delivery_date": "Delivery",
    "agreed_payment_date": "Payment due",
}

MOST_DAYS_AT_ONCE = 93
"""Of a longer period, every order is looked at for the top designs: only when that is wanted."""


def show(page: View) -> None:
    """Draw revenue by time, country, staff and design."""
    chosen, currency = page.chosen, page.currency
    st.title("Sales")
    drill.way_back(page)
    rates_note(page)
    _totals(page)
    grain = metrics.fitting_grain(chosen)
    series = sales.over_time(page.reading, chosen, grain)
    st.subheader(f"Revenue by {grain}, {text.period(chosen.since, chosen.until)}")
    says = drill.bars(
        page, series, "value", "Revenue", grain, tooltips={"orders": "Orders", "units": "Units"}
    )
    with st.expander("As a table, with the average price"):
        tables.table(
            series,
            {
                "start": f"{grain.capitalize()} from",
                "value": f"Revenue, {currency}",
                "orders": "Orders",
                "units": "Units",
                "average_price": f"Average price, {currency}",
                "unconverted": "Not converted",
            },
            key="sales-series",
            file_name=f"totes-sales_{page.file_name}",
            alt=says,
        )
    _where(page)
    _by(page)
    _top_designs(page)
    rows(page, "sales_order", "Sales orders", sales.rows, ROW_COLUMNS, open_at=chosen.days == 1)


def _totals(page: View) -> None:
    found = sales.summary(page.reading, page.chosen)
    with totals.cards("sales"):
        totals.total(found.revenue, "Revenue", page.currency)
        totals.number("Orders", f"{found.orders:,}", found.orders, found.orders_before)
        totals.number("Units", f"{found.units:,}", found.units, found.units_before)
        price = found.average_price
        shown = "none" if price is None else text.money(price, page.currency, exact=True)
        totals.number("Average price", shown, price, found.average_price_before)
        for _, row in sales.new_and_returning(page.reading, page.chosen).iterrows():
            st.metric(
                f"{str(row['kind']).capitalize()} customers",
                f"{row['counterparties']:,}",
                f"{text.count(row['orders'], 'order')}, {text.money(row['value'], page.currency)}",
                delta_arrow="off",
                delta_color="off",
                help=text.own(
                    "Counterparties. New: the first order ever lies in this period."
                    + (
                        f" Not converted: {text.count(int(row['unconverted']), 'order')}."
                        if row["unconverted"]
                        else ""
                    )
                ),
                border=True,
                height="stretch",
            )


def _where(page: View) -> None:
    st.subheader("By country of delivery")
    found = charts.by_country(sales.by(page.reading, page.chosen, "country"))
    if found.empty:
        st.text("Nothing was sold in this period.")
        return
    wide, beside = st.columns([3, 2])
    with wide:
        says = narrow.world_map(page, found, "Revenue", "sales-map")
    with beside:
        narrow.ranked(
            page, found, "Revenue", "country", "sales-countries", tooltips={"orders": "Orders"}
        )
    st.caption(narrow.HINT)
    with st.expander("All countries as a table"):
        _dimension_table(page, found, "country", says)


def _by(page: View) -> None:
    st.subheader("By whom and of what")
    others = [name for name in sales.DIMENSIONS if name != "country"]
    tabs = st.tabs(
        [HEADINGS[name] for name in others], key="sales-by", on_change="rerun"
    )  # only the one that is seen is asked for
    for tab, name in zip(tabs, others, strict=True):
        if not tab.open:
            continue
        with tab:
            found = sales.by(page.reading, page.chosen, name)
            if found.empty:
                st.text("Nothing was sold in this period.")
                continue
            says = narrow.ranked(
                page,
                found,
                "Revenue",
                name,
                f"sales-by-{name}",
                tooltips={"orders": "Orders", "units": "Units"},
            )
            _dimension_table(page, found, name, says)


def _dimension_table(page: View, found: "tables.Frame", name: str, says: str) -> None:
    columns = {
        "name": HEADINGS[name],
        "value": f"Revenue, {page.currency}",
        "share": "Share, %",
        "orders": "Orders",
        "units": "Units",
        "average_price": f"Average price, {page.currency}",
        "unconverted": "Not converted",
    }
    if "own_value" in found.columns:
        columns["own_value"] = "Revenue in its own currency"
    tables.table(
        found.assign(share=[share and share * 100 for share in found["share"]]),
        columns,
        key=f"sales-table-{name}",
        file_name=f"totes-sales-by-{name}_{page.file_name}",
        alt=says,
    )


def _top_designs(page: View) -> None:
    st.subheader("Top designs for each country")
    if page.chosen.days > MOST_DAYS_AT_ONCE and not st.toggle(
        "Show the top designs of so long a period", key="sales-top-designs-shown"
    ):
        return
    found = sales.top_designs(page.reading, page.chosen)
    tables.table(
        found,
        {
            "country": "Country",
            "value": f"Revenue, {page.currency}",
            "design": "Design",
            "place": "Place",
            "orders": "Orders",
            "units": "Units",
            "unconverted": "Not converted",
        },
        key="sales-top-designs",
        file_name=f"totes-top-designs_{page.file_name}",
        alt="The three designs with the most revenue in each country.",
    )


show(view())
