"""The report of a period on paper: totals, the largest parts of them, debts and changes."""

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from totes.dashboard import charts, metrics, text
from totes.dashboard.components import drill, tables, totals
from totes.dashboard.components.changes_table import SILENT
from totes.dashboard.components.money import rates_note, unclassified_types_note
from totes.dashboard.metrics import changes, overview, payments, sales
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.links import KINDS
from totes.dashboard.navigation.view import View, view
from totes.dashboard.preferences import preferences

LARGEST = 8
"""Rows of a list."""

PRINT_BUTTON = """
<button class="print-page">Print or save as PDF</button>
<script>
for (const button of document.querySelectorAll(".print-page")) {
    button.onclick = () => window.print();
}
</script>
"""
"""It opens the browser's print dialog, and is not on paper itself."""

OF_PERIOD = ("revenue", "purchases", "margin", "cash_in", "cash_out")
OF_ALL_DAYS = ("receivable", "payable")


def show(page: View) -> None:
    """Draw totals, a chart, the largest countries, designs and debts, and changes."""
    st.title("Report")
    state = page.reading.state
    st.text(preferences().company)
    st.caption(
        f"{totals.periods(page)} Data as of {text.moment(state.captured_at)}, batch {state.batch}."
    )
    st.html(PRINT_BUTTON, unsafe_allow_javascript=True)
    _totals(page)
    rates_note(page)
    unclassified_types_note(page)
    _chart(page)
    with _row("sales"):
        left, right = st.columns(2)
        countries = charts.by_country(sales.by(page.reading, page.criteria, "country"))
        designs = sales.by(page.reading, page.criteria, "design", limit=LARGEST)
        with left:
            _largest(page, countries.head(LARGEST), "Delivery country")
        with right:
            _largest(page, designs, "Design")
    with _row("debts"):
        left, right = st.columns(2)
        with left:
            _debts(page, "Receivables", "receivable")
        with right:
            _debts(page, "Payables", "payable")
    _changes(page)


def _row(name: str) -> DeltaGenerator:
    """Return a container that is on one sheet of paper (see style.css)."""
    return st.container(key=f"report-{name}")


def _totals(page: View) -> None:
    summary = overview.totals(page.reading, page.criteria)
    with totals.cards("report", across=4):
        for name in (one for one in OF_PERIOD if getattr(summary, one) is not None):
            totals.total(page, getattr(summary, name), versus=totals.versus_previous(page))
        for name in OF_ALL_DAYS:
            totals.total(
                page,
                getattr(summary, name),
                versus=totals.versus_start(page),
                label=f"{METRICS[name].label} {page.today}",
            )


def _chart(page: View) -> None:
    grain = metrics.default_grain(page.criteria)
    series = overview.over_time(page.reading, page.criteria, grain)
    columns = {"revenue": "Revenue", "purchases": "Purchases"}
    st.header(f"Revenue and purchases by {grain}")
    if page.criteria.days == 1 or not charts.has_data(series, columns):
        st.text("No chart: the period has one day only, or no data.")
        return
    chart = charts.lines(
        series,
        columns,
        grain,
        page.currency,
        dark=page.dark,
        incomplete=drill.are_incomplete(page, series, grain),
    )
    charts.show(chart, key="report-series")


def _largest(page: View, ranking: tables.Frame, heading: str) -> None:
    st.header(f"Revenue by {heading.lower()}")
    shares = [share and round(share * 100, 2) for share in ranking["share"]]
    columns = {
        "name": heading,
        "value": f"Revenue, {page.currency}",
        "share": "Share, %",
        "orders": "Orders",
    }
    _table(page, ranking.assign(share=shares), columns, f"Revenue by {heading.lower()}")


def _debts(page: View, title: str, debt: str) -> None:
    st.header(f"{title} {page.today}, the {LARGEST} largest")
    debts = payments.owed(page.reading, page.criteria)
    debts = debts.loc[[not text.is_missing(value) and value > 0 for value in debts[debt]]]
    columns = {
        "counterparty": "Counterparty",
        debt: f"{title}, {page.currency}",
        f"overdue_{debt}": f"Overdue, {page.currency}",
    }
    largest = debts.sort_values(debt, ascending=False, kind="stable").head(LARGEST)
    _table(page, largest, columns, title)


def _changes(page: View) -> None:
    criteria = changes.captured_in(page.reading, page.criteria)
    st.header(f"Changes captured {text.period(criteria.since, criteria.until)}")
    st.caption(f"{SILENT} Programs that read by last_updated miss such changes.")
    by_kind = pd.DataFrame(map(vars, changes.summary(page.reading, criteria).values()))
    columns = {
        "kind": "Type",
        "changes": "Changes",
        "silent": "Silent changes",
        "deleted": "Deleted",
        "value_change": f"Change in value, {page.currency}",
        "silent_value_change": f"Silent change in value, {page.currency}",
    }
    by_kind["kind"] = [f"{KINDS[kind]}s" for kind in by_kind["kind"]]
    _table(page, by_kind, columns, "Changes")


def _table(page: View, frame: tables.Frame, columns: tables.Columns, title: str) -> None:
    """Show at most 20 rows, which are HTML: a PDF has all of them, as text."""
    name = title.lower().replace(" ", "-")
    file_name = f"totes-{name}_{page.file_name}"
    tables.table(frame, columns, key=f"report-{name}", file_name=file_name, alt=f"{title}.")


show(view())
