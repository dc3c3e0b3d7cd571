"""Drill-down from years to months to days to rows, by a click on a chart or by the keyboard."""

import calendar
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import pandas as pd
import streamlit as st

from totes.dashboard import charts, metrics, text
from totes.dashboard.components.annotations import annotations
from totes.dashboard.filters import Choices, Filter, Period
from totes.dashboard.navigation.view import View, go, in_url


@dataclass(frozen=True)
class Step:
    """A period of the breadcrumbs; it contains the period of the page."""

    label: str
    since: date
    until: date


def last_day(start: date, grain: str) -> date:
    """Return the last day of the year, month, week or day that begins with `start`."""
    match grain:
        case "year":
            return date(start.year, 12, 31)
        case "week":
            return start + timedelta(days=6)
        case "month":
            return start.replace(day=calendar.monthrange(start.year, start.month)[1])
        case _:
            return start


def period_of_bar(criteria: Filter, start: date, grain: str) -> Period:
    """Return the part of a bar's year, month or day that is in the period of the page."""
    return Period(max(start, criteria.since), min(last_day(start, grain), criteria.until))


def steps(criteria: Filter, choices: Choices) -> list[Step]:
    """Return the periods that contain the page's: all, its year, its month, and its day."""
    first, last = criteria.since, criteria.until
    path = [Step("All", min(choices.first_day, first), max(choices.today, last))]
    if first.year == last.year:
        path.append(Step(str(first.year), date(first.year, 1, 1), date(first.year, 12, 31)))
        if first.month == last.month:
            start = first.replace(day=1)
            path.append(Step(f"{first:%B %Y}", start, last_day(start, "month")))
            if first == last:
                path.append(Step(text.day(first), first, last))
    return path


def breadcrumbs(page: View) -> None:
    """Show a button for each wider period; that of the page's own period is disabled."""
    criteria = page.criteria
    with st.container(horizontal=True, gap="small"):
        for place, step in enumerate(steps(criteria, page.choices)):
            is_current = (step.since, step.until) == (criteria.since, criteria.until)
            wider = criteria.within(step.since, step.until)
            if step.label == "All":
                wider = criteria.in_period("all", page.choices)
            st.button(
                step.label,
                key=f"step-{step.label}",
                disabled=is_current or (step.label == "All" and criteria.period == "all"),
                on_click=partial(go, wider),
                type="tertiary",
                icon=":material/chevron_right:" if place else None,
            )


def grain_switch(page: View) -> metrics.Grain:
    """Show what the period may be divided into; return the selected grain."""
    offered = metrics.grains(page.criteria)
    default = metrics.default_grain(page.criteria)
    if len(offered) == 1:
        return offered[0]
    selected = st.segmented_control(
        "Show by",
        offered,
        format_func=str.capitalize,
        required=True,
        **in_url("grain", offered, default, also=metrics.GRAINS),
    )
    return selected or default


def compare(
    page: View,
    series: pd.DataFrame,
    query: Callable[[Filter], pd.DataFrame],
    columns: Collection[str],
) -> pd.DataFrame:
    """Return the series with the values of the previous period, if there is one."""
    previous = metrics.previous_period(page.reading, page.criteria)
    if previous is None or page.criteria.days == 1:
        return series
    return charts.with_previous(series, query(previous), columns)


def bars(  # noqa: PLR0913  the parts of a chart
    page: View,
    series: pd.DataFrame,
    column: str,
    label: str,
    grain: str,
    *,
    tooltips: Mapping[str, str],
) -> str:
    """Show the value of each period as a bar that can be drilled into.

    Return the chart's text alternative.
    """
    series = charts.trim_empty_periods(series, [column, *tooltips])
    if not charts.has_data(series, [column, *tooltips]):
        return _no_data()
    if page.criteria.days == 1:
        return _one_day(page, series, {column: label}, tooltips)
    chart = charts.over_time(
        series,
        column,
        label,
        grain,
        page.currency,
        dark=page.dark,
        tooltips=tooltips,
        incomplete=are_incomplete(page, series, grain),
        events=_events(page, series, grain),
    )
    _show_chart(page, chart, series, grain, name=f"bars-{label}")
    return chart.alt_text


def lines(
    page: View, series: pd.DataFrame, columns: Mapping[str, str], grain: str, name: str
) -> str:
    """Show several values of each period as lines that can be drilled into.

    Return the chart's text alternative.
    """
    if not charts.has_data(series, columns):
        return _no_data()
    if page.criteria.days == 1:
        return _one_day(page, series, columns, {})
    chart = charts.lines(
        series,
        columns,
        grain,
        page.currency,
        dark=page.dark,
        clickable=True,
        incomplete=are_incomplete(page, series, grain),
        events=_events(page, series, grain),
    )
    _show_chart(page, chart, series, grain, name=name)
    return chart.alt_text


def are_incomplete(page: View, series: pd.DataFrame, grain: str) -> list[bool]:
    """Return for each year, month or day whether it is not over, or partly outside the period."""
    return [
        (start, last_day(start, grain)) != period_of_bar(page.criteria, start, grain)
        or last_day(start, grain) >= page.choices.today
        for start in series["start"]
    ]


def _events(page: View, series: pd.DataFrame, grain: str) -> dict[int, list[str]]:
    """Return the events in each year, month, week or day, by its place."""
    by_place: dict[int, list[str]] = {}
    for day, event in annotations(page.reading):
        for place, start in enumerate(series["start"]):
            if start <= day <= last_day(start, grain):
                by_place.setdefault(place, []).append(event)
    return by_place


def _one_day(
    page: View, series: pd.DataFrame, amounts: Mapping[str, str], counts: Mapping[str, str]
) -> str:
    """Show the numbers of a single day, instead of a chart with one bar."""
    [day] = series.to_dict("records")
    numbers = [
        *(f"{label} {text.money(day[column], page.currency)}" for column, label in amounts.items()),
        *(f"{label} {day[column]:,}" for column, label in counts.items()),
    ]
    message = f"{text.day(page.criteria.since)}: {', '.join(numbers)}."
    if page.criteria.since >= page.choices.today:
        message = f"{message} The day is not over."
    st.text(message)
    return message


def _no_data() -> str:
    """Show a text instead of an empty chart."""
    message = "No data in this period."
    st.text(message)
    return message


def _show_chart(
    page: View, chart: charts.Chart, series: pd.DataFrame, grain: str, *, name: str
) -> None:
    """Show a chart of periods, and below it a selection of a period for the keyboard.

    Each period has a chart with a key of its own, without the clicks of the previous one. The
    selection has the same key for all periods, so that it keeps the keyboard's focus; it is
    emptied after each use.
    """
    criteria = page.criteria
    key, select_key = f"{name}-{criteria.since}-{criteria.until}-{grain}", f"{name}-select"
    starts = [start.isoformat() for start in series["start"]]

    def on_click() -> None:
        if points := st.session_state[key]["selection"].get(charts.PERIOD):
            _drill_into(page, points[0]["start"], grain)

    def on_select() -> None:
        start, st.session_state[select_key] = st.session_state[select_key], None
        if start in starts:
            _drill_into(page, start, grain)

    charts.show(chart, key=key, on_select=on_click, selection_mode=charts.PERIOD)
    st.selectbox(
        f"Drill into a {grain}",
        starts,
        index=None,
        format_func=lambda start: charts.period_label(charts.as_date(start), grain),
        placeholder=f"Drill into a {grain}: click on the chart or select it here",
        label_visibility="collapsed",
        key=select_key,
        on_change=on_select,
    )


def _drill_into(page: View, start: object, grain: str) -> None:
    go(page.criteria.within(*period_of_bar(page.criteria, charts.as_date(start), grain)))
