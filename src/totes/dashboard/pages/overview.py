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
    better: str = ""


BUSINESS = (
    _Shown("revenue", "Revenue", "up"),
    _Shown("purchases", "Purchases"),
    _Shown("margin", "Margin", "up"),
)
CASH = (_Shown("cash_in", "Cash in", "up"), _Shown("cash_out", "Cash out"))
OUTSTANDING = (
    _Shown("receivable", "Owed to us today"),
    _Shown("payable", "Owed by us today"),
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
    for row in (BUSINESS, (*CASH, *OUTSTANDING)):
        with totals.cards(row[0].name):
            for one in row:
                spark = list(series[one.name]) if one.name in series else []
                totals.total(
                    getattr(found, one.name), one.label, currency, spark=spark, better=one.better
                )
    with st.container(horizontal=True):
        link("sales", "What we sold, and where", chosen, ":material/arrow_forward:")
        link("payments", "Who owes us, and whom we owe", chosen, ":material/arrow_forward:")
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
