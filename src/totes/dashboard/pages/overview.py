"""How the business does: its totals, and how each has changed."""

from collections.abc import Iterable
from dataclasses import dataclass

import streamlit as st

from totes.dashboard import charts, drill, metrics, tables, text, totals
from totes.dashboard.metrics import debts, overview
from totes.dashboard.money import other_kinds_note, rates_note
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
    _Shown("receivable", "Owed to us {when}"),
    _Shown("payable", "Owed by us {when}"),
)

NO_LINE = f"The line of what was owed reaches back {debts.MOST_DAYS} days at most."

NOT_BEGUN = (
    "By the platform's clock this period has not begun: what was owed in it has no line yet."
)


def show(page: View) -> None:
    """Draw revenue, purchases, margin, cash and open debts, with trends."""
    chosen, currency = page.chosen, page.currency
    st.title("Overview")
    drill.way_back(page)
    found = overview.totals(page.reading, chosen)
    owed = (found.receivable, found.payable)
    told = [_compared(page)]
    if any(one.before is not None for one in owed):
        told.append(f"What is owed is compared with the beginning of {text.day(chosen.since)}.")
    else:
        told.append(totals.OWED_BEFORE_UNKNOWN)
    st.caption(f"{text.period(chosen.since, chosen.until)}, {' '.join(told)}")
    rates_note(page)
    other_kinds_note(page)
    grain = metrics.fitting_grain(chosen)
    series = charts.busy(
        overview.over_time(page.reading, chosen, grain),
        ("revenue", "purchases", "cash_in", "cash_out", "unconverted"),
    )
    business = [one for one in BUSINESS if getattr(found, one.name) is not None]
    with totals.cards("business", across=len(business)):
        _show(business, found, series, currency)
    if found.margin is None:
        st.caption(
            "There is no margin here: what was sold to a country or a customer, or by a "
            "department, is not made of what was bought from there, or by it."
        )
    cash = totals.cards("cash", across=4)
    with cash:
        _show(CASH, found, series, currency)
    with st.container(horizontal=True):
        link("sales", "What we sold, and where", chosen, ":material/arrow_forward:")
        link("payments", "Who owes us, and whom we owe", chosen, ":material/arrow_forward:")
    st.subheader("Revenue and purchases")
    says = drill.lines(
        page,
        series,
        {one.name: one.label for one in business},
        grain,
        "overview",
    )
    with st.expander("As a table"):
        tables.table(
            series,
            {
                "start": f"{grain.capitalize()} from",
                **{one.name: f"{one.label}, {currency}" for one in (*business, *CASH)},
                "unconverted": "Not converted",
            },
            key="overview-series",
            file_name=f"totes-overview_{page.file_name}",
            alt=says,
        )
    with cash:  # at last, as every change of a debt is looked at
        when = f"on {page.today}" if chosen.as_of else page.today
        line = debts.over_time(page.reading, chosen)
        note = ""
        if line.empty:
            note = NO_LINE if debts.has_begun(page.reading, chosen) else NOT_BEGUN
        _show(OUTSTANDING, found, line, currency, when=when, note=note)


def _show(  # noqa: PLR0913  what a row of cards is made of
    which: Iterable[_Shown],
    found: overview.Overview,
    series: tables.Frame,
    currency: str,
    *,
    when: str = "",
    note: str = "",
) -> None:
    for one in which:
        totals.total(
            getattr(found, one.name),
            one.label.format(when=when),
            currency,
            spark=list(series[one.name]),
            better=one.better,
            note=note,
        )


def _compared(page: View) -> str:
    """What the changes are against."""
    chosen = page.chosen
    before = metrics.compared(page.reading, chosen)
    if before is None:
        return "compared with nothing: the data does not reach back to the equal period before."
    return (
        f"compared with the {text.count(before.days, 'day')} before, "
        f"{text.period(before.since, before.until)}."
    )


show(view())
