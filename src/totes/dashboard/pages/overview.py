"""How the business does: its totals, and how each has changed."""

from dataclasses import dataclass

import streamlit as st

from totes.dashboard import charts, drill, tables, text, totals
from totes.dashboard.metrics import overview
from totes.dashboard.view import View, link, view


@dataclass(frozen=True)
class _Shown:
    name: str
    label: str
    page: str
    better: str = ""


OF_THE_PERIOD = (
    _Shown("revenue", "Revenue", "sales", "up"),
    _Shown("purchases", "Purchases", "purchases"),
    _Shown("margin", "Margin", "sales", "up"),
    _Shown("cash_in", "Cash in", "payments", "up"),
    _Shown("cash_out", "Cash out", "payments"),
)
OUTSTANDING = (
    _Shown("receivable", "Owed to us", "payments"),
    _Shown("payable", "Owed by us", "payments"),
)


def show(page: View) -> None:
    chosen, currency = page.chosen, page.currency
    st.title("Overview")
    before = chosen.before()
    st.caption(
        f"{text.period(chosen.since, chosen.until)}, compared with the "
        f"{text.count(chosen.days, 'day')} before, {text.period(before.since, before.until)}. "
        f"All sums in {currency}, each at the rate of its own day."
    )
    found = overview.totals(page.reading, chosen)
    grain = drill.grain(chosen)
    series = overview.over_time(page.reading, chosen, grain)
    with totals.cards("overview"):
        for one in OF_THE_PERIOD:
            totals.total(
                getattr(found, one.name),
                one.label,
                currency,
                spark=list(series[one.name]),
                better=one.better,
            )
    st.subheader("Outstanding today")
    with totals.cards("overview-2"):
        for one in OUTSTANDING:
            totals.total(getattr(found, one.name), one.label, currency, better="")
        with st.container():
            link("payments", "Who owes us, and what is overdue", chosen, ":material/arrow_forward:")
            link("sales", "What we sold, and where", chosen, ":material/arrow_forward:")
    st.subheader("Revenue and purchases")
    drawn = charts.lines(
        series,
        {"revenue": "Revenue", "purchases": "Purchases", "margin": "Margin"},
        grain,
        currency,
        dark=page.dark,
    )
    st.altair_chart(drawn.drawn, alt=drawn.says, key="overview-lines")
    with st.expander("As a table"):
        tables.table(
            series,
            {
                "start": f"{grain.capitalize()} from",
                "revenue": f"Revenue, {currency}",
                "purchases": f"Purchases, {currency}",
                "margin": f"Margin, {currency}",
                "cash_in": f"Cash in, {currency}",
                "cash_out": f"Cash out, {currency}",
            },
            key="overview-series",
            file_name=f"totes-overview_{page.file_name}",
            alt=drawn.says,
        )


show(view())
