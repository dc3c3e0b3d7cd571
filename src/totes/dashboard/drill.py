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
    drawn = charts.over_time(
        series, column, what, grain, page.currency, dark=page.dark, tooltips=tooltips
    )
    chosen = page.chosen
    key = f"bars-{what}-{chosen.since}-{chosen.until}-{grain}"
    if chosen.days == 1:
        st.altair_chart(drawn.drawn, alt=drawn.says, key=key)
        return drawn.says

    def clicked() -> None:
        if picked := st.session_state[key]["selection"].get("period"):
            _into(page, picked[0]["start"], grain)

    st.altair_chart(
        drawn.drawn, alt=drawn.says, key=key, on_select=clicked, selection_mode="period"
    )
    one_of(page, series, grain, key, hint="click its bar, or choose it here")
    return drawn.says


def one_of(
    page: View, series: pd.DataFrame, grain: str, key: str, hint: str = "choose it here"
) -> None:
    """A choice of one of the periods of a chart."""
    if page.chosen.days == 1:
        return

    def named() -> None:
        if (start := st.session_state[f"{key}-named"]) is not None:
            _into(page, start, grain)

    st.selectbox(
        f"Look into one {grain}",
        [start.isoformat() for start in series["start"]],
        index=None,
        format_func=lambda start: charts.period_label(charts.as_date(start), grain),
        placeholder=f"Look into one {grain}: {hint}",
        label_visibility="collapsed",
        key=f"{key}-named",
        on_change=named,
    )


def _into(page: View, start: object, grain: str) -> None:
    go(page.chosen.within(*inside(page.chosen, charts.as_date(start), grain)))
