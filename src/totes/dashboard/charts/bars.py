"""Bar charts: by period, by name, and grouped."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import INK_DARK, INK_LIGHT, accent
from totes.dashboard.charts.drawing import (
    DOTTED,
    HEIGHT,
    MEMBER,
    NO_EVENTS,
    PERIOD,
    Chart,
    as_float,
    chart_note,
    coloured,
    describe_series,
    event_marks,
    money_axis,
    on_click,
    period_axis,
    period_labels,
    previous_texts,
    styled,
    whole_labels,
)
from totes.dashboard.charts.series import BEFORE, enough, sum_known

_BAR_HEIGHT = 26
_AXIS_HEIGHT = 70


def over_time(  # noqa: PLR0913  the parts of a chart
    frame: pd.DataFrame,
    column: str,
    what: str,
    grain: str,
    currency: str,
    *,
    dark: bool,
    tooltips: Mapping[str, str] | None = None,
    incomplete: Sequence[bool] = (),
    events: Mapping[int, Sequence[str]] = NO_EVENTS,
) -> Chart:
    """Return bars of a value by period; a click on one sets the selection `PERIOD`.

    Bars of periods that are `incomplete` are pale and dashed. Values of the previous period, in
    the column `…_before`, are a dotted line. `events` are texts by the place of their period.
    """
    incomplete = incomplete or [False] * len(frame)
    previous = f"{column}{BEFORE}" if f"{column}{BEFORE}" in frame.columns else ""
    plotted = pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            "label": period_labels(frame["start"], grain),
            "whole": whole_labels(frame["start"], grain, incomplete),
            "incomplete": list(incomplete),
            "plotted": [as_float(value) for value in frame[column]],
            "exact": [text.money(value, currency, exact=True) for value in frame[column]],
            **{
                name: [f"{value:,}" for value in frame[of]] for of, name in (tooltips or {}).items()
            },
            **(
                {
                    "before": [as_float(value) for value in frame[previous]],
                    "Previous": previous_texts(frame, column, grain, currency),
                }
                if previous
                else {}
            ),
        }
    )
    shown = [
        alt.Tooltip("whole:N", title=grain.capitalize()),
        alt.Tooltip("exact:N", title=what),
        *([alt.Tooltip("Previous:N")] if previous else []),
        *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
    ]
    chart: Any = (
        alt.Chart(plotted)
        .mark_bar(
            color=accent(dark=dark), stroke=accent(dark=dark), cursor="pointer", cornerRadiusEnd=2
        )
        .encode(
            x=period_axis(list(plotted["label"])),
            y=money_axis("plotted:Q", currency, plotted["plotted"]),
            tooltip=shown,
            fillOpacity=alt.condition("datum.incomplete", alt.value(0.25), alt.value(1)),
            strokeDash=alt.condition("datum.incomplete", alt.value([4, 3]), alt.value([1, 0])),
        )
        .add_params(on_click(PERIOD, "start"))
    )
    if previous:
        ink = INK_DARK if dark else INK_LIGHT
        chart += (
            alt.Chart(plotted)
            .mark_line(color=ink, strokeDash=DOTTED, strokeWidth=1.5, tooltip=None)
            .encode(
                x=period_axis(list(plotted["label"])),
                y=money_axis("before:Q", currency, plotted["before"]),
            )
        )
    if events:
        chart += event_marks(list(plotted["label"]), events, dark=dark)
    note = chart_note(frame, [column], grain, incomplete, events)
    chart = styled(chart, HEIGHT, dark=dark)
    description = describe_series(frame, column, what, grain, currency)
    return Chart(chart, f"{description} {note}".rstrip(), note)


def ranked(  # noqa: PLR0913  the parts of a chart
    frame: pd.DataFrame,
    what: str,
    currency: str,
    *,
    dark: bool,
    tooltips: Mapping[str, str] | None = None,
    clickable: bool = False,
    most: int | None = None,
) -> Chart:
    """Return bars for the first names, at most `most`, and the sum of the others as a note.

    Without `most`, there are so many bars that the others are not the largest, up to a limit. If
    `clickable`, a click on a bar sets the selection `MEMBER` to its key.
    """
    most = most or enough(frame)
    frame, others = frame.iloc[:most], frame.iloc[most:]
    names = [text.plain(name) for name in frame["name"]]
    plotted = pd.DataFrame(
        {
            "name": names,
            **({"key": list(frame["key"])} if clickable else {}),
            "plotted": [as_float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
            **{name: [f"{v:,}" for v in frame[of]] for of, name in (tooltips or {}).items()},
        }
    )
    chart = (
        alt.Chart(plotted)
        .mark_bar(
            cornerRadiusEnd=2, color=accent(dark=dark), cursor="pointer" if clickable else "default"
        )
        .encode(
            y=alt.Y(
                "name:N", sort=names, title=None, axis=alt.Axis(labelLimit=180, labelOverlap=False)
            ),
            x=money_axis("plotted:Q", currency, plotted["plotted"], way=alt.X),
            tooltip=[
                alt.Tooltip("name:N", title="Name"),
                alt.Tooltip("exact:N", title=what),
                *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
            ],
        )
    )
    if clickable:
        chart = chart.add_params(on_click(MEMBER, "key"))
    height = len(names) * _BAR_HEIGHT + _AXIS_HEIGHT
    parts = [
        f"{name} {text.money(value, currency)}"
        for name, value in zip(names, frame["value"], strict=True)
    ]
    note = ""
    if len(others):
        note = f"Others ({len(others):,}): {text.money(sum_known(others['value']), currency)}"
        parts.append(note)
    description = f"{what}, largest first: {'; '.join(parts)}." if parts else f"{what}: no data."
    return Chart(styled(chart, height, dark=dark), description, note)


def side_by_side(  # noqa: PLR0913  the parts of a chart
    frame: pd.DataFrame, across: str, what: str, order: Sequence[str], currency: str, *, dark: bool
) -> Chart:
    """Return grouped bars of `value`: a group for each `across`, a bar for each `what`."""
    kinds = list(dict.fromkeys(frame[what]))
    plotted = pd.DataFrame(
        {
            "across": frame[across],
            "what": frame[what],
            "plotted": [as_float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
        }
    )
    chart = (
        alt.Chart(plotted)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X(
                "across:N",
                sort=list(order),
                title=None,
                axis=alt.Axis(
                    labelAngle=0, labelOverlap=False, labelExpr="split(datum.label, ' ')"
                ),
            ),
            xOffset=alt.XOffset("what:N", sort=kinds),
            y=money_axis("plotted:Q", currency, plotted["plotted"]),
            color=coloured("what:N", kinds, dark=dark),
            tooltip=[
                alt.Tooltip("across:N", title="Age"),
                alt.Tooltip("what:N", title="Type"),
                alt.Tooltip("exact:N", title="Amount"),
            ],
        )
    )
    chart = styled(chart, HEIGHT, dark=dark)
    description = "; ".join(
        f"{row['what']}, {row['across']}: {row['exact']}" for _, row in plotted.iterrows()
    )
    return Chart(chart, f"{description}.")
