"""Money that came and went, what is owed to whom, and what is to be expected."""

from collections.abc import Mapping
from functools import partial

import streamlit as st

from totes.dashboard import charts, drill, metrics, tables, text, totals
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import lines, payments
from totes.dashboard.money import other_kinds_note, rates_note
from totes.dashboard.reading import Reading
from totes.dashboard.rows import rows
from totes.dashboard.view import View, view

DIRECTIONS = {"in": "Owed to us", "out": "Owed by us"}

WAYS = {"in": "to us", "out": "by us"}

OPEN_ONES: Mapping[str, payments.Only] = {
    "All": "",
    "Overdue": "overdue",
    "Never paid": "never paid",
}
"""Which open payments are listed."""

OPEN_COLUMNS = {
    "payment_id": "Payment id",
    "value": "Amount, {}",
    "counterparty": "Counterparty",
    "direction": "Owed",
    "kind": "Kind",
    "payment_date": "Due",
    "days_overdue": "Days overdue",
    "amount": "In its currency",
    "currency": "Currency",
    "rate": "Rate",
    "country": "Counterparty's country",
    "why": "Remark",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}

PAID_COLUMNS = {
    "payment_id": "Payment id",
    "value": "Amount, {}",
    "payment_date": "Day",
    "direction": "Paid",
    "kind": "Kind",
    "counterparty": "Counterparty",
    "amount": "In its currency",
    "currency": "Currency",
    "rate": "Rate",
    "country": "Counterparty's country",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}


def show(page: View) -> None:
    """Draw cash in and out, open debts by age and counterparty, and expected payments."""
    chosen = page.chosen
    st.title("Payments")
    drill.way_back(page)
    rates_note(page)
    other_kinds_note(page)
    _totals(page)
    grain = metrics.fitting_grain(chosen)
    series = charts.busy(
        payments.over_time(page.reading, chosen, grain), ("cash_in", "cash_out", "unconverted")
    )
    st.subheader(f"Cash in and out by {grain}, {text.period(chosen.since, chosen.until)}")
    says = drill.lines(
        page,
        series,
        {"cash_in": "Cash in", "cash_out": "Cash out", "net": "Net"},
        grain,
        "payments",
    )
    with st.expander("As a table"):
        _series(page, series, f"{grain.capitalize()} from", "payments-series", says)
    _owed(page)
    _expected(page)
    _never_paid(page)
    rows(
        page,
        "payment",
        "Open payments",
        {label: partial(_open, only=only) for label, only in OPEN_ONES.items()},
        OPEN_COLUMNS,
        open_at=True,
        name="open",
    )
    rows(
        page,
        "payment",
        "Payments made",
        _made,
        PAID_COLUMNS,
        open_at=chosen.days == 1,
        name="paid",
    )


def _open(reading: Reading, chosen: Filter, *, limit: int, only: payments.Only) -> tables.Frame:
    return _in_words(payments.open_rows(reading, chosen, only=only, limit=limit))


def _made(reading: Reading, chosen: Filter, *, limit: int) -> tables.Frame:
    return _in_words(payments.rows(reading, chosen, limit=limit))


def _in_words(found: tables.Frame) -> tables.Frame:
    """`SALES_RECEIPT` is a sales receipt, and one that came in was paid to us."""
    return found.assign(
        direction=[WAYS.get(one, one) for one in found["direction"]],
        kind=[str(one).replace("_", " ").capitalize() for one in found["kind"]],
    )


def _totals(page: View) -> None:
    found = payments.summary(page.reading, page.chosen)
    with totals.cards("payments"):
        for what, label, better in (
            (found.cash_in, "Cash in", "up"),
            (found.cash_out, "Cash out", ""),
            (found.receivable, "Owed to us", ""),
            (found.overdue_receivable, "Overdue to us", "down"),
            (found.payable, "Owed by us", ""),
            (found.overdue_payable, "Overdue by us", "down"),
        ):
            totals.total(what, label, page.currency, better=better)
    compared = totals.OWED_BEFORE_UNKNOWN
    if any(one.before is not None for one in (found.receivable, found.payable)):
        compared = f"It is compared with the beginning of {text.day(page.chosen.since)}."
    st.caption(f"What is owed is that of {page.today}. {compared}")


def _never_paid(page: View) -> None:
    st.subheader("Never paid")
    found = payments.never_paid(page.reading, page.chosen)
    with totals.cards("never-paid", across=2):
        totals.total(found.receivable, "Never paid to us", page.currency, better="down")
        totals.total(found.payable, "Never paid by us", page.currency, better="down")
    st.caption(
        f"{text.count(found.receivable.count, 'payment')} to us and "
        f"{text.count(found.payable.count, 'payment')} by us are overdue, and due on a weekend or "
        "on the day they were made: no payment run of totesys pays these, only a person does. "
        "They are among the open payments below, as “Never paid”."
    )


def _series(page: View, frame: tables.Frame, first: str, key: str, says: str) -> None:
    columns = {
        "start": first,
        "day": "Day",
        "cash_in": f"Cash in, {page.currency}",
        "cash_out": f"Cash out, {page.currency}",
        "net": f"Net, {page.currency}",
        "never_in": "To us, never paid",
        "never_out": "By us, never paid",
        "unconverted": "Not converted",
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
                "age": "Overdue",
                "value": f"Amount, {page.currency}",
                "what": "What",
                "payments": "Payments",
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
            "overdue_receivable": "Overdue to us",
            "payable": f"We owe, {page.currency}",
            "overdue_payable": "Overdue by us",
            "unconverted": "Not converted",
        },
        key="payments-owed",
        file_name=f"totes-owed_{page.file_name}",
        alt="What each counterparty owes us and we owe them.",
        empty="Nobody owes anything.",
    )


def _expected(page: View) -> None:
    st.subheader(f"Expected in the next {lines.DAYS_AHEAD} days")
    found = payments.expected(page.reading, page.chosen)
    drawn = charts.lines(
        found.rename(columns={"day": "start"}),
        {"cash_in": "Cash in", "cash_out": "Cash out"},
        "day",
        page.currency,
        dark=page.dark,
    )
    st.altair_chart(drawn.drawn, alt=drawn.says, key="payments-expected")
    never = {way: charts.added(found[f"never_{way}"]) for way in DIRECTIONS}
    if any(amount is None or amount for amount in never.values()):
        told = " and ".join(
            f"{text.money(never[way], page.currency)} {WAYS[way]}" for way in DIRECTIONS
        )
        st.caption(
            text.own(
                f"Not among these: {told}, due on a weekend or on the day they were made. No "
                "payment run of totesys pays these, only a person does."
            )
        )
    else:
        found = found.drop(columns=["never_in", "never_out"])
    with st.expander("As a table"):
        _series(page, found, "", "payments-expected-table", drawn.says)


show(view())
