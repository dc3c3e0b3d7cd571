"""Money that came and went, what is owed to whom, and what is to be expected."""

import streamlit as st

from totes.dashboard import charts, drill, tables, text, totals
from totes.dashboard.metrics import payments
from totes.dashboard.rows import rows
from totes.dashboard.view import View, view

DAYS_AHEAD = 30

DIRECTIONS = {"in": "Owed to us", "out": "Owed by us"}

OPEN_COLUMNS = {
    "payment_id": "Payment id",
    "counterparty": "Counterparty",
    "direction": "Direction",
    "kind": "Kind",
    "payment_date": "Due",
    "days_overdue": "Days overdue",
    "value": "Amount, {}",
    "amount": "In its currency",
    "currency": "Currency",
    "country": "Country",
    "why": "Remark",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}

PAID_COLUMNS = {
    "payment_id": "Payment id",
    "payment_date": "Day",
    "direction": "Direction",
    "kind": "Kind",
    "counterparty": "Counterparty",
    "value": "Amount, {}",
    "amount": "In its currency",
    "currency": "Currency",
    "country": "Country",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}


def show(page: View) -> None:
    chosen = page.chosen
    st.title("Payments")
    drill.way_back(page)
    _totals(page)
    grain = drill.grain(chosen)
    series = payments.over_time(page.reading, chosen, grain)
    st.subheader(f"Cash in and out by {grain}, {text.period(chosen.since, chosen.until)}")
    drawn = charts.lines(
        series,
        {"cash_in": "Cash in", "cash_out": "Cash out", "net": "Net"},
        grain,
        page.currency,
        dark=page.dark,
    )
    st.altair_chart(drawn.drawn, alt=drawn.says, key="payments-lines")
    with st.expander("As a table"):
        _series(page, series, f"{grain.capitalize()} from", "payments-series", drawn.says)
    _owed(page)
    _expected(page)
    rows(
        page,
        "payment",
        "Open payments",
        payments.open_rows,
        OPEN_COLUMNS,
        open_at=True,
        name="open",
    )
    rows(
        page,
        "payment",
        "Payments made",
        payments.rows,
        PAID_COLUMNS,
        open_at=chosen.days == 1,
        name="paid",
    )


def _totals(page: View) -> None:
    found = payments.summary(page.reading, page.chosen)
    with totals.cards("payments"):
        for what, label, better in (
            (found.cash_in, "Cash in", "up"),
            (found.cash_out, "Cash out", ""),
            (found.receivable, "Owed to us", ""),
            (found.overdue_receivable, "Of that overdue", "down"),
            (found.payable, "Owed by us", ""),
            (found.overdue_payable, "Of that overdue", "down"),
        ):
            totals.total(what, label, page.currency, better=better)


def _series(page: View, frame: tables.Frame, first: str, key: str, says: str) -> None:
    columns = {
        "start": first,
        "day": "Day",
        "cash_in": f"Cash in, {page.currency}",
        "cash_out": f"Cash out, {page.currency}",
        "net": f"Net, {page.currency}",
    }
    tables.table(
        frame,
        {name: heading for name, heading in columns.items() if name in frame.columns},
        key=key,
        file_name=f"totes-{key}_{page.file_name}",
        alt=says,
    )


def _owed(page: View) -> None:
    st.subheader("Open, by age")
    ages = payments.ages(page.reading, page.chosen)
    order = list(dict.fromkeys(ages["age"]))
    ages = ages.assign(what=[DIRECTIONS[direction] for direction in ages["direction"]])
    drawn = charts.side_by_side(ages, "age", "what", order, page.currency, dark=page.dark)
    wide, beside = st.columns(2)
    with wide:
        st.altair_chart(drawn.drawn, alt=drawn.says, key="payments-ages")
        st.caption("Open payments of all times: debts don't go away with the period.")
    with beside:
        tables.table(
            ages,
            {
                "what": "What",
                "age": "Overdue",
                "payments": "Payments",
                "value": f"Amount, {page.currency}",
                "unconverted": "Not converted",
            },
            key="payments-ages-table",
            file_name=f"totes-ages_{page.file_name}",
            alt=drawn.says,
        )
    st.subheader("Who owes us, and whom we owe")
    found = payments.owed(page.reading, page.chosen)
    tables.table(
        found,
        {
            "counterparty": "Counterparty",
            "receivable": f"Owes us, {page.currency}",
            "overdue_receivable": "Of that overdue",
            "payable": f"We owe, {page.currency}",
            "overdue_payable": "Of that overdue",
        },
        key="payments-owed",
        file_name=f"totes-owed_{page.file_name}",
        alt="What each counterparty owes us and we owe them.",
        empty="Nobody owes anything.",
    )


def _expected(page: View) -> None:
    st.subheader(f"Expected in the next {DAYS_AHEAD} days")
    found = payments.expected(page.reading, page.chosen, DAYS_AHEAD)
    drawn = charts.lines(
        found.rename(columns={"day": "start"}),
        {"cash_in": "Cash in", "cash_out": "Cash out"},
        "day",
        page.currency,
        dark=page.dark,
    )
    st.altair_chart(drawn.drawn, alt=drawn.says, key="payments-expected")
    with st.expander("As a table"):
        _series(page, found, "", "payments-expected-table", drawn.says)


show(view())
