"""Cash in and out, receivables and payables, and expected payments."""

from collections.abc import Mapping
from functools import partial

import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.components import drill, tables, totals
from totes.dashboard.components.money import rates_note, unclassified_types_note
from totes.dashboard.components.rows import rows
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import Total, payments
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.links import row_links
from totes.dashboard.navigation.view import View, view
from totes.dashboard.reading import Reading

DEBTS = {"in": "Receivable", "out": "Payable"}

DIRECTIONS = {"in": "In", "out": "Out"}

OPEN_PAYMENTS: Mapping[str, payments.Only] = {
    "All": "",
    "Overdue": "overdue",
    "Not covered by payment runs": "uncovered",
}
"""The lists of open payments, by their labels."""

OPEN_COLUMNS = {
    "payment_id": "Payment id",
    "value": "Amount, {}",
    "counterparty": "Counterparty",
    "direction": "Direction",
    "kind": "Payment type",
    "payment_date": "Due on",
    "days_overdue": "Days overdue",
    "amount": "Amount (payment currency)",
    "currency": "Currency",
    "rate": "Exchange rate",
    "country": "Counterparty's country",
    "why": "Why not covered",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}

PAID_COLUMNS = {
    "payment_id": "Payment id",
    "value": "Amount, {}",
    "payment_date": "Paid on",
    "direction": "Direction",
    "kind": "Payment type",
    "counterparty": "Counterparty",
    "amount": "Amount (payment currency)",
    "currency": "Currency",
    "rate": "Exchange rate",
    "country": "Counterparty's country",
    "sales_order_id": "Sales order id",
    "purchase_order_id": "Purchase order id",
}


def show(page: View) -> None:
    """Draw cash in and out, open payments by age and counterparty, and expected payments."""
    criteria = page.criteria
    st.title("Payments")
    drill.breadcrumbs(page)
    st.caption(totals.periods(page))
    summary = _totals(page)
    rates_note(page)
    unclassified_types_note(page)
    st.header(f"Cash in and out, {text.period(criteria.since, criteria.until)}")
    grain = drill.grain_switch(page)
    series = drill.compare(
        page,
        payments.over_time(page.reading, criteria, grain),
        lambda earlier: payments.over_time(page.reading, earlier, grain),
        ["cash_in", "cash_out"],
    )
    series = charts.trim_empty_periods(series, ("cash_in", "cash_out", "unconverted"))
    alt_text = drill.lines(
        page,
        series,
        {"cash_in": "Cash in", "cash_out": "Cash out", "net": "Net"},
        grain,
        "payments",
    )
    with st.expander("As a table"):
        _series(page, series, f"{grain.capitalize()} from", "payments-series", alt_text)
    _debts(page)
    _expected(page)
    _uncovered(page, summary)
    rows(
        page,
        "payment",
        "Open payments",
        {label: partial(_open_rows, only=only) for label, only in OPEN_PAYMENTS.items()},
        OPEN_COLUMNS,
        open_at=True,
        name="open",
    )
    rows(
        page,
        "payment",
        "Completed payments",
        _paid_rows,
        PAID_COLUMNS,
        open_at=criteria.days == 1,
        name="paid",
    )


def _open_rows(
    reading: Reading, criteria: Filter, *, limit: int, only: payments.Only
) -> tables.Frame:
    return _labelled(payments.open_rows(reading, criteria, only=only, limit=limit), DEBTS)


def _paid_rows(reading: Reading, criteria: Filter, *, limit: int) -> tables.Frame:
    return _labelled(payments.rows(reading, criteria, limit=limit), DIRECTIONS)


def _labelled(rows: tables.Frame, directions: Mapping[str, str]) -> tables.Frame:
    """Return the rows with labels for direction and type, such as `Sales receipt`."""
    return rows.assign(
        direction=[directions[direction] for direction in rows["direction"]],
        kind=[str(kind).replace("_", " ").capitalize() for kind in rows["kind"]],
    )


def _totals(page: View) -> payments.PaymentsSummary:
    summary = payments.summary(page.reading, page.criteria)
    previous, start = totals.versus_previous(page), totals.versus_start(page)
    with totals.cards("payments"):
        for figure, versus in (
            (summary.cash_in, previous),
            (summary.receivable, start),
            (summary.overdue_receivable, start),
            (summary.cash_out, previous),
            (summary.payable, start),
            (summary.overdue_payable, start),
        ):
            totals.total(page, figure, versus=versus)
    note = f"Receivables and payables are as of {page.today}."
    if totals.lacks_debts_before(page, summary.receivable, summary.payable):
        note = f"{note} {totals.NO_DEBT_COMPARISON}"
    st.caption(note)
    return summary


def _uncovered(page: View, summary: payments.PaymentsSummary) -> None:
    st.header("Not covered by payment runs")
    uncovered = payments.uncovered(page.reading, page.criteria)
    with totals.cards("uncovered", across=2):
        for what, overdue in (
            (uncovered.receivable, summary.overdue_receivable),
            (uncovered.payable, summary.overdue_payable),
        ):
            note = part_of(what, overdue, page.currency)
            totals.total(page, what, note=note)
    st.caption(
        f"{text.count(uncovered.receivable.count, 'receivable')} and "
        f"{text.count(uncovered.payable.count, 'payable')} are overdue, and due on a weekend or on "
        "their creation date: the payment runs of totesys skip them. Collect and pay them manually."
    )


def part_of(what: Total, whole: Total, currency: str) -> str:
    """Return which part of overdue payments is not covered, such as `3 of the 7 overdue …`."""
    name = METRICS[whole.metric].label.lower()
    if what.count == whole.count:
        return f"These are all {name}." if whole.count else f"No {name}."
    amount = text.markdown(text.money(whole.value, currency))
    return f"{what.count:,} of the {whole.count:,} {name} of {amount} in total."


def _series(page: View, frame: tables.Frame, first: str, key: str, alt_text: str) -> None:
    columns = {
        "start": first,
        "day": "Day",
        "cash_in": f"Cash in, {page.currency}",
        "cash_out": f"Cash out, {page.currency}",
        "net": f"Net, {page.currency}",
        "uncovered_in": f"Receivables not covered, {page.currency}",
        "uncovered_out": f"Payables not covered, {page.currency}",
        "unconverted": "Not converted",
    }
    tables.table(
        frame,
        {name: heading for name, heading in columns.items() if name in frame.columns},
        key=key,
        file_name=f"totes-{key}_{page.file_name}",
        alt=alt_text,
    )


def _debts(page: View) -> None:
    st.header("Open payments by age")
    ages = payments.ages(page.reading, page.criteria)
    order = list(dict.fromkeys(ages["age"]))
    ages = ages.assign(what=[DEBTS[direction] for direction in ages["direction"]])
    chart = charts.side_by_side(ages, "age", "what", order, page.currency, dark=page.dark)
    left, right = st.columns(2)
    with left:
        charts.show(chart, key="payments-ages")
        st.caption("All open payments, regardless of the period.")
    with right:
        tables.table(
            ages,
            {
                "age": "Age",
                "value": f"Amount, {page.currency}",
                "what": "Direction",
                "payments": "Payments",
                "unconverted": "Not converted",
            },
            key="payments-ages-table",
            file_name=f"totes-ages_{page.file_name}",
            alt=chart.alt_text,
        )
    debtors = payments.owed(page.reading, page.criteria)
    _owed(page, debtors, "Owed to us", "receivable")
    _owed(page, debtors, "Owed by us", "payable")


def _owed(page: View, counterparties: tables.Frame, title: str, debt: str) -> None:
    """Show the counterparties with a debt, the largest first, and the totals."""
    st.header(title)
    counterparties = owed(counterparties, debt)
    selected = tables.table(
        counterparties,
        {
            "counterparty": "Counterparty",
            debt: f"{title}, {page.currency}",
            f"overdue_{debt}": f"Overdue, {page.currency}",
            "unconverted": "Not converted (both directions)",
        },
        key=f"payments-{debt}",
        file_name=f"totes-{title.lower().replace(' ', '-')}_{page.file_name}",
        alt=f"{title} by counterparty, the largest first.",
        empty="No open payments.",
        selectable=True,
    )
    if selected is not None:
        row_links(page.criteria, counterparties.iloc[selected].to_dict())
    if not counterparties.empty:
        total, overdue = (
            text.money(charts.sum_known(counterparties[name]), page.currency, exact=True)
            for name in (debt, f"overdue_{debt}")
        )
        st.markdown(text.markdown(f"**Total: {total}, overdue: {overdue}**"))


def owed(counterparties: tables.Frame, debt: str) -> tables.Frame:
    """Return the counterparties with that debt, the largest first; unknown amounts are last."""
    amounts = {
        row: amount
        for row, amount in enumerate(counterparties[debt])
        if not text.is_missing(amount)
    }
    largest_first = sorted((row for row in amounts if amounts[row]), key=lambda row: -amounts[row])
    unknown = [row for row in range(len(counterparties)) if row not in amounts]
    return counterparties.iloc[[*largest_first, *unknown]].reset_index(drop=True)


def _expected(page: View) -> None:
    st.header(f"Expected in the next {payments.EXPECTED_DAYS} days")
    expected = payments.expected(page.reading, page.criteria)
    chart = charts.lines(
        expected.rename(columns={"day": "start"}),
        {"cash_in": "Cash in", "cash_out": "Cash out"},
        "day",
        page.currency,
        dark=page.dark,
    )
    charts.show(chart, key="payments-expected")
    receivable = charts.sum_known(expected["uncovered_in"])
    payable = charts.sum_known(expected["uncovered_out"])
    if any(amount is None or amount for amount in (receivable, payable)):
        st.caption(
            text.markdown(
                f"Not included: receivables of {text.money(receivable, page.currency)} and "
                f"payables of {text.money(payable, page.currency)} that are not covered by payment "
                "runs, because they are due on a weekend or on their creation date."
            )
        )
    else:
        expected = expected.drop(columns=["uncovered_in", "uncovered_out"])
    with st.expander("As a table"):
        _series(page, expected, "", "payments-expected-table", chart.alt_text)


show(view())
