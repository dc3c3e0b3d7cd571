"""Common parts of charts: axes, legends, clicks, sizes, and text alternatives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from totes.dashboard import text
from totes.dashboard.charts.colours import DARK, INK_DARK, INK_LIGHT, LIGHT, deadline_colour
from totes.dashboard.charts.series import BEFORE, sum_known

PERIOD, MEMBER = "period", "member"
"""Names of the selections that a click sets: a period, and a member of a dimension."""

HEIGHT = 280

NO_EVENTS: Mapping[int, Sequence[str]] = MappingProxyType({})

DOTTED = [1, 3]
"""The line of a previous period."""

SHORT_AMOUNT = (
    "datum.value === 0 ? '0' : "
    + " : ".join(
        f"abs(datum.value) >= {size} ? format(datum.value / {size}, ',.3~f') + '{name}'"
        for size, name in ((1e12, "tn"), (1e9, "bn"), (1e6, "m"), (1e3, "k"), (0, ""))
    ).replace("/ 0,", "/ 1,")
    + " : ''"
)
"""Vega expression of an amount on an axis: `0`, `10k`, `2.5m`, `10bn`."""

_SHORT_DAYS = 300
"""Days of at most so many days have labels without the year."""


_NAMED_PERIODS = 2
"""How many incomplete periods are named: the first and the last of a chart."""


@dataclass(frozen=True)
class Chart:
    """An Altair chart, its text alternative, and a note that is shown below it."""

    spec: alt.Chart | alt.LayerChart
    alt_text: str
    note: str = ""


def show(chart: Chart, *, key: str, **options: Any) -> None:
    """Show a chart, and its note as text, which a phone wraps; `options` are those of Streamlit."""
    st.altair_chart(chart.spec, alt=chart.alt_text, key=key, **options)
    if chart.note:
        with st.container(key=f"small-{key}"):
            st.text(chart.note)


def period_label(start: date, grain: str) -> str:
    """Return the name of the period of a grain that begins at `start`, such as `Jan 2024`."""
    match grain:
        case "year":
            return f"{start:%Y}"
        case "quarter":
            return f"Q{(start.month + 2) // 3} {start:%Y}"
        case "month":
            return f"{start:%b %Y}"
        case "week":
            return f"week of {start.day} {start:%b %Y}"
        case _:
            return f"{start.day} {start:%b %Y}"


def styled(chart: Any, height: int | None, *, dark: bool) -> Any:
    """Return a chart with its height, padding, and text colours of sufficient contrast."""
    ink = INK_DARK if dark else INK_LIGHT
    return (
        (chart.properties(height=height) if height else chart)
        .properties(padding={"left": 5, "top": 5, "right": 16, "bottom": 5})
        .configure_axis(labelColor=ink, titleColor=ink)
        .configure_legend(labelColor=ink, titleColor=ink)
    )


def as_float(value: Decimal | None) -> float | None:
    """Return a number for Vega; None for NULL and NaN."""
    return None if value is None or text.is_missing(value) else float(value)


def period_labels(starts: "pd.Series[Any]", grain: str) -> list[str]:
    """Return short and distinct names of periods."""
    days = list(starts)
    if grain in ("day", "week") and days:
        year = "" if (days[-1] - days[0]).days < _SHORT_DAYS else " %Y"
        return [f"{start.day} {start:%b{year}}" for start in days]
    return [period_label(start, grain) for start in days]


def whole_labels(starts: "pd.Series[Any]", grain: str, incomplete: Sequence[bool]) -> list[str]:
    """Return the names of periods for tooltips."""
    return [
        period_label(start, grain) + (" (incomplete)" if is_incomplete else "")
        for start, is_incomplete in zip(starts, incomplete, strict=True)
    ]


def chart_note(
    frame: pd.DataFrame,
    columns: Iterable[str],
    grain: str,
    incomplete: Sequence[bool],
    events: Mapping[int, Sequence[str]],
) -> str:
    """Return such as `Dashed: incomplete (29 Nov 2026). Dotted: previous period (…)`."""
    names = [
        period_label(start, grain)
        for start, is_incomplete in zip(frame["start"], incomplete, strict=True)
        if is_incomplete
    ]
    if len(names) > _NAMED_PERIODS:
        names = [f"{names[0]} to {names[-1]}"]
    notes = [f"Dashed: incomplete ({', '.join(names)})."] if names else []
    if any(f"{column}{BEFORE}" in frame.columns for column in columns):
        starts = [start for start in frame[f"start{BEFORE}"] if start is not None]
        ends = [period_label(starts[place], grain) for place in (0, -1)] if starts else []
        if ends:
            notes.append(f"Dotted: previous period ({' to '.join(dict.fromkeys(ends))}).")
    if events:
        place = max(events)
        when = period_label(frame["start"].iloc[place], grain)
        more = sum(map(len, events.values())) - 1
        rest = f", and {text.count(more, 'earlier event')}" if more else ""
        notes.append(f"Vertical line: {events[place][-1]} ({when}){rest}.")
    return " ".join(notes)


def event_marks(
    labels: Sequence[str], events: Mapping[int, Sequence[str]], *, dark: bool
) -> alt.Chart:
    """Return a vertical line with a tooltip at each place of `labels` that has events."""
    marks = pd.DataFrame(
        [{"label": labels[place], "Event": "; ".join(each)} for place, each in events.items()]
    )
    chart: alt.Chart = alt.Chart(marks).mark_rule(
        color=deadline_colour(dark=dark), strokeWidth=3, opacity=0.8
    )
    return chart.encode(x=period_axis(labels), tooltip=[alt.Tooltip("Event:N")])


def previous_texts(frame: pd.DataFrame, column: str, grain: str, currency: str) -> list[str]:
    """Return such as `£1,234.00 (Oct 2026)` for tooltips: the previous value, and its period."""
    return [
        ""
        if start is None
        else f"{text.money(value, currency, exact=True)} ({period_label(start, grain)})"
        for value, start in zip(frame[f"{column}{BEFORE}"], frame[f"start{BEFORE}"], strict=True)
    ]


def period_axis(labels: Sequence[str]) -> alt.X:
    """Return the axis of periods, in the given order, without overlapping labels."""
    return alt.X(
        "label:N",
        sort=list(labels),
        title=None,
        axis=alt.Axis(
            labelAngle=0,
            labelAlign="center",
            labelFlush=False,
            labelOverlap="parity",
            labelSeparation=8,
            ticks=False,
        ),
    )


def money_axis(
    field: str, currency: str, values: "Iterable[float | None]", way: Any = alt.Y
) -> Any:
    """Return an axis of amounts; if all are zero or unknown, its only label is 0."""
    if any(value for value in values if value == value):  # noqa: PLR0124  not a number
        ticks = 3 if way is alt.X else 5
        return way(
            field,
            title=currency,
            scale=alt.Scale(nice=ticks),  # the last label is at the end of the axis
            axis=alt.Axis(
                tickCount=ticks,
                labelExpr=SHORT_AMOUNT,
                labelOverlap="parity",  # if there is little space, every other label is hidden
                labelFlush=True,
            ),
        )
    return way(
        field,
        title=currency,
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(values=[0], format="d"),
    )


def on_click(name: str, field: str) -> alt.Parameter:
    """Return a selection named `name` that a click sets to the mark's `field`."""
    return alt.selection_point(name=name, fields=[field], on="click", empty=True)


def legend_above() -> alt.Legend:
    """Return a legend above the chart."""
    return alt.Legend(title=None, orient="top", offset=6)


def coloured(field: str, names: Sequence[str], *, dark: bool) -> alt.Color:
    """Return a colour for each of at most seven `names`, with a legend."""
    colours = list((DARK if dark else LIGHT)[: len(names)])
    return alt.Color(
        field,
        sort=list(names),
        scale=alt.Scale(domain=list(names), range=colours),
        legend=legend_above(),
    )


def describe_series(frame: pd.DataFrame, column: str, what: str, grain: str, currency: str) -> str:
    """Return the text alternative of a chart: range, total and maximum of the frame's `column`."""
    if frame.empty:
        return f"{what}: no data."
    starts, values = list(frame["start"]), list(frame[column])
    present = [place for place, value in enumerate(values) if not text.is_missing(value)]
    when = f"from {period_label(starts[0], grain)} to {period_label(starts[-1], grain)}"
    missing = int(frame["unconverted"].sum()) if "unconverted" in frame.columns else 0
    rest = f" Not converted: {text.count(missing, 'row')}." if missing else ""
    if not present:
        return f"{what} by {grain} {when}: {text.NOT_CONVERTED}.{rest}"
    best = max(present, key=values.__getitem__)
    return (
        f"{what} by {grain} {when}: total {text.money(sum_known(values), currency)}, maximum "
        f"{text.money(values[best], currency)} in {period_label(starts[best], grain)}.{rest}"
    )
