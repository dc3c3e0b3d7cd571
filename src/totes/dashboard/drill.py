"""From years to months to days to rows: by a click on a bar, or by the keyboard."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.filters import Choices, Filter, Period
from totes.dashboard.view import View, go


@dataclass(frozen=True)
class Step:
    """A wider period that the chosen one lies in."""

    label: str
    since: date
    until: date


def last_day(start: date, grain: str) -> date:
    """The last day of the year, month or day that begins with `start`."""
    match grain:
        case "year":
            return date(start.year, 12, 31)
        case "month":
            return start.replace(day=calendar.monthrange(start.year, start.month)[1])
        case _:
            return start


def inside(chosen: Filter, start: date, grain: str) -> Period:
    """What one bar stands for: its period, as far as it lies in the chosen one."""
    return Period(max(start, chosen.since), min(last_day(start, grain), chosen.until))


def steps(chosen: Filter, choices: Choices) -> list[Step]:
    """The way back up: everything, the year, the month, and the day itself."""
    first, last = chosen.since, chosen.until
    way = [Step("All", min(choices.first_day, first), max(choices.today, last))]
    if first.year == last.year:
        way.append(Step(str(first.year), date(first.year, 1, 1), date(first.year, 12, 31)))
        if first.month == last.month:
            start = first.replace(day=1)
            way.append(Step(f"{first:%B %Y}", start, last_day(start, "month")))
            if first == last:
                way.append(Step(text.day(first), first, last))
    return way


def way_back(page: View) -> None:
    """A button for each wider period; the one that is shown can't be pressed."""
    chosen = page.chosen
    with st.container(horizontal=True, gap="small"):
        for step in steps(chosen, page.choices):
            here = (step.since, step.until) == (chosen.since, chosen.until)
            wider = chosen.within(step.since, step.until)
            if step.label == "All":
                wider = chosen.in_period("all", page.choices)
            st.button(
                step.label,
                key=f"step-{step.label}",
                disabled=here or (step.label == "All" and chosen.period == "all"),
                on_click=partial(go, wider),
                type="tertiary",
                icon=":material/chevron_right:",
            )


def bars(  # noqa: PLR0913  what a chart that can be gone into is made of
    page: View,
    series: pd.DataFrame,
    column: str,
    what: str,
    grain: str,
    *,
    tooltips: Mapping[str, str],
) -> str:
    """The value of each period; a click or a choice goes into one. Says what the chart says."""
    series = charts.busy(series, [column, *tooltips])
    if not charts.happened(series, [column, *tooltips]):
        return _nothing()
    drawn = charts.over_time(
        series, column, what, grain, page.currency, dark=page.dark, tooltips=tooltips
    )
    hint = "click it, or choose it here"
    _leading(page, drawn, series, grain, name=f"bars-{what}", hint=hint)
    return drawn.says


def lines(
    page: View, series: pd.DataFrame, columns: Mapping[str, str], grain: str, name: str
) -> str:
    """Several values of each period, that a click or a choice goes into."""
    if not charts.happened(series, columns):
        return _nothing()
    drawn = charts.lines(
        series, columns, grain, page.currency, dark=page.dark, leads=page.chosen.days > 1
    )
    hint = "click it, or choose it here"
    _leading(page, drawn, series, grain, name=name, hint=hint)
    return drawn.says


def _nothing() -> str:
    """In the place of an empty chart."""
    said = "Nothing in this period."
    st.text(said)
    return said


def _leading(  # noqa: PLR0913  the chart, and where it leads
    page: View, drawn: charts.Chart, series: pd.DataFrame, grain: str, *, name: str, hint: str
) -> None:
    """A chart of periods, and for the keyboard a choice of one of them below it.

    Another period has another chart, which knows nothing of the clicks in this one. The choice is
    the same one for all periods, so that the keyboard's focus stays on it, and is empty again.
    """
    chosen = page.chosen
    key, choice = f"{name}-{chosen.since}-{chosen.until}-{grain}", f"{name}-named"
    if chosen.days == 1:
        st.altair_chart(drawn.drawn, alt=drawn.says, key=key)
        return

    starts = [start.isoformat() for start in series["start"]]

    def clicked() -> None:
        if picked := st.session_state[key]["selection"].get(charts.PERIOD):
            _into(page, picked[0]["start"], grain)

    def named() -> None:
        start, st.session_state[choice] = st.session_state[choice], None
        if start in starts:
            _into(page, start, grain)

    st.altair_chart(
        drawn.drawn, alt=drawn.says, key=key, on_select=clicked, selection_mode=charts.PERIOD
    )
    st.selectbox(
        f"Look into one {grain}",
        starts,
        index=None,
        format_func=lambda start: charts.period_label(charts.as_date(start), grain),
        placeholder=f"Look into one {grain}: {hint}",
        label_visibility="collapsed",
        key=choice,
        on_change=named,
    )


def _into(page: View, start: object, grain: str) -> None:
    go(page.chosen.within(*inside(page.chosen, charts.as_date(start), grain)))
