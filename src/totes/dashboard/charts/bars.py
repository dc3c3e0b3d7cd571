"""Bars: over time, of names, and side by side."""

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import accent
from totes.dashboard.charts.drawing import (
    HEIGHT,
    ONE,
    PERIOD,
    Chart,
    as_float,
    coloured,
    finished,
    money_axis,
    on_click,
    period_axis,
    period_label,
    period_labels,
    says_over_time,
    words_below,
)
from totes.dashboard.charts.series import added, folded

_BAR_HEIGHT = 26
_AXIS_HEIGHT = 70
_WORDS_HEIGHT = 24


def over_time(  # noqa: PLR0913  what a chart over time is made of
    frame: pd.DataFrame,
    column: str,
    what: str,
    grain: str,
    currency: str,
    *,
    dark: bool,
    tooltips: Mapping[str, str] | None = None,
) -> Chart:
    """Bars of a value for each period; a click on one is the selection `PERIOD`."""
    plotted = pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            "label": period_labels(frame["start"], grain),
            "whole": [period_label(start, grain) for start in frame["start"]],
            "plotted": [as_float(value) for value in frame[column]],
            "exact": [text.money(value, currency, exact=True) for value in frame[column]],
            **{
                name: [f"{value:,}" for value in frame[of]] for of, name in (tooltips or {}).items()
            },
        }
    )
    shown = [
        alt.Tooltip("whole:N", title=grain.capitalize()),
        alt.Tooltip("exact:N", title=what),
        *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
    ]
    drawn = (
        alt.Chart(plotted)
        .mark_bar(color=accent(dark=dark), cursor="pointer", cornerRadiusEnd=2)
        .encode(
            x=period_axis(list(plotted["label"])),
            y=money_axis("plotted:Q", currency, plotted["plotted"]),
            tooltip=shown,
        )
        .add_params(on_click(PERIOD, "start"))
    )
    drawn = finished(drawn, HEIGHT, dark=dark)
    return Chart(drawn, says_over_time(frame, column, what, grain, currency))


def ranked(  # noqa: PLR0913  what bars of names are made of
    frame: pd.DataFrame,
    what: str,
    currency: str,
    *,
    dark: bool,
    tooltips: Mapping[str, str] | None = None,
    narrows: bool = False,
) -> Chart:
    """Bars for names, the largest value first, at most seven; all others are a line of words.

    As a bar they could be so long that the seven can't be read beside it. Where it `narrows` the
    filter, a click on a bar is the selection `ONE`, of its key.
    """
    frame, others = folded(frame)
    names = [text.plain(name) for name in frame["name"]]
    plotted = pd.DataFrame(
        {
            "name": names,
            **({"key": list(frame["key"])} if narrows else {}),
            "plotted": [as_float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
            **{name: [f"{v:,}" for v in frame[of]] for of, name in (tooltips or {}).items()},
        }
    )
    drawn = (
        alt.Chart(plotted)
        .mark_bar(
            cornerRadiusEnd=2, color=accent(dark=dark), cursor="pointer" if narrows else "default"
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
    if narrows:
        drawn = drawn.add_params(on_click(ONE, "key"))
    height = len(names) * _BAR_HEIGHT + _AXIS_HEIGHT
    told = [
        f"{name} {text.money(value, currency)}"
        for name, value in zip(names, frame["value"], strict=True)
    ]
    if len(others):
        rest = f"all others together {text.money(added(others['value']), currency)}"
        told.append(rest)
        drawn = drawn.properties(title=words_below(f"Not drawn: {rest}", dark=dark))
        height += _WORDS_HEIGHT
    says = f"{what}, the largest first: {'; '.join(told)}." if told else f"{what}: nothing."
    return Chart(finished(drawn, height, dark=dark), says)


def side_by_side(  # noqa: PLR0913  what bars side by side are made of
    frame: pd.DataFrame, across: str, what: str, order: Sequence[str], currency: str, *, dark: bool
) -> Chart:
    """Bars side by side: for each of `across` one of each `what`; values in `value`."""
    kinds = list(dict.fromkeys(frame[what]))
    plotted = pd.DataFrame(
        {
            "across": frame[across],
            "what": frame[what],
            "plotted": [as_float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
        }
    )
    drawn = (
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
                alt.Tooltip("what:N", title="What"),
                alt.Tooltip("exact:N", title="Amount"),
            ],
        )
    )
    drawn = finished(drawn, HEIGHT, dark=dark)
    says = "; ".join(
        f"{row['what']}, {row['across']}: {row['exact']}" for _, row in plotted.iterrows()
    )
    return Chart(drawn, f"{says}.")
