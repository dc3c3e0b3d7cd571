"""The totals of the business, and their changes."""

from collections.abc import Iterable
from decimal import Decimal

import streamlit as st

from totes.dashboard import charts, goals, text
from totes.dashboard.components import drill, tables, totals
from totes.dashboard.components.money import rates_note, unclassified_types_note
from totes.dashboard.metrics import debts, overview, sales
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.view import View, link, view
from totes.dashboard.server.backends import backends

BUSINESS = ("revenue", "purchases", "margin")
CASH = ("cash_in", "cash_out")
DEBTS = ("receivable", "payable")

TREND_TOO_LONG = f"No trend: the period begins more than {debts.MAX_TREND_DAYS} days ago"

TREND_IN_FUTURE = "No trend: the period is in the future"


def show(page: View) -> None:
    """Draw revenue, purchases, margin, cash, receivables and payables, with trends."""
    criteria, currency = page.criteria, page.currency
    st.title("Overview")
    drill.breadcrumbs(page)
    summary = overview.totals(page.reading, criteria)
    notes = [totals.periods(page)]
    if totals.lacks_debts_before(page, summary.receivable, summary.payable):
        notes.append(totals.NO_DEBT_COMPARISON)
    st.caption(" ".join(notes))
    business = [one for one in BUSINESS if getattr(summary, one) is not None]
    business_cards = totals.cards("business", across=len(business))
    if summary.margin is None:
        st.caption(
            "No margin: sales and purchases are not comparable if filtered by country, department "
            "or counterparty."
        )
    cash_cards = totals.cards("cash", across=4)
    with st.container(horizontal=True):
        link("sales", "Sales by country and design", criteria, ":material/arrow_forward:")
        last_month = criteria.in_period("last-month", page.choices)
        link("sales", "Sales of last month", last_month, ":material/arrow_forward:")
        link("payments", "Receivables and payables", criteria, ":material/arrow_forward:")
    rates_note(page)
    unclassified_types_note(page)
    _goals(page)
    st.header(f"Revenue and purchases, {text.period(criteria.since, criteria.until)}")
    grain = drill.grain_switch(page)
    series = drill.compare(
        page,
        overview.over_time(page.reading, criteria, grain),
        lambda earlier: sales.over_time(page.reading, earlier, grain).rename(
            columns={"value": "revenue"}
        ),
        ["revenue"],
    )
    series = charts.trim_empty_periods(
        series, ("revenue", "purchases", "cash_in", "cash_out", "unconverted")
    )
    is_incomplete = drill.are_incomplete(page, series, grain)
    complete = series[[not one for one in is_incomplete]]
    with business_cards:
        _show(business, summary, complete, page)
    with cash_cards:
        _show(CASH, summary, complete, page)
    alt_text = drill.lines(
        page,
        series,
        {one: METRICS[one].label for one in business},
        grain,
        "overview",
    )
    with st.expander("As a table"):
        tables.table(
            series,
            {
                "start": f"{grain.capitalize()} from",
                **{one: f"{METRICS[one].label}, {currency}" for one in (*business, *CASH)},
                "unconverted": "Not converted",
            },
            key="overview-series",
            file_name=f"totes-overview_{page.file_name}",
            alt=alt_text,
        )
    with cash_cards:  # last, because it reads each change of an open payment
        when = f" on {page.today}" if criteria.as_of else f" {page.today}"
        trend = debts.over_time(page.reading, criteria)
        note = ""
        if trend.empty:
            note = TREND_TOO_LONG if debts.has_begun(page.reading, criteria) else TREND_IN_FUTURE
        for name in DEBTS:
            overdue = getattr(summary, f"overdue_{name}").value
            totals.total(
                page,
                getattr(summary, name),
                versus=totals.versus_start(page),
                spark=list(trend[name]),
                label=f"{METRICS[name].label}{when}",
                note=f"Overdue: {text.markdown(text.money(overdue, currency))}. {note}".strip(),
            )


def _goals(page: View) -> None:
    """Show the progress of each goal, with the part of its working days that have passed."""
    goal_progress = [
        goals.progress(page.reading, goal, page.criteria.as_of) for goal in backends().goals
    ]
    if not goal_progress:
        return
    st.header("Goals")
    if page.criteria.is_narrowed:
        st.caption("Goals include all rows, regardless of the filters.")
    for one in goal_progress:
        when = text.period(one.whole.since, one.whole.until)
        if one.metric.unit == "count":
            value, target = f"{one.value or 0:,}", f"{one.target:,}"
        else:
            value, target = (text.money(of, one.currency) for of in (one.value, one.target))
        pace = ""
        if one.at_this_pace is not None:
            share = one.at_this_pace / one.target
            pace = f" At this pace: {text.money(one.at_this_pace, one.currency)} ({share:.0%})."
        st.progress(
            float(min(max(one.share, Decimal()), Decimal(1))),
            text=text.markdown(
                f"**{one.metric.label}**, {when}: {value} of {target} ({one.share:.0%}). "
                f"{one.passed.working_days} of {one.whole.working_days} working days have passed."
                f"{pace}"
            ),
        )


def _show(
    which: Iterable[str], summary: overview.Overview, series: tables.Frame, page: View
) -> None:
    versus = totals.versus_previous(page)
    for name in which:
        totals.total(page, getattr(summary, name), versus=versus, spark=list(series[name]))


show(view())
