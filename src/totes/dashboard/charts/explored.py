"""Charts of any columns: values by one or two dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import LIGHT, accent
from totes.dashboard.charts.drawing import (
    HEIGHT,
    Chart,
    as_float,
    coloured,
    money_axis,
    period_axis,
    period_label,
    styled,
)

MAX_MEMBERS, MAX_PERIODS, MAX_SERIES = 15, 1000, len(LIGHT)
"""How many bars of names, periods and colours a chart has; a caption counts the others."""

_BAR_HEIGHT, _AXIS_HEIGHT = 24, 70

_DESCRIBED = 12
"""How many values the text alternative has."""


@dataclass(frozen=True)
class Column:
    """A column of a frame and its label; amounts have a currency, and days the grain of periods."""

    name: str
    label: str
    currency: str = ""
    grain: str = ""


def explored(
    frame: pd.DataFrame,
    dimensions: Sequence[Column],
    values: Sequence[Column],
    kind: Literal["bars", "lines"],
    *,
    dark: bool,
) -> Chart:
    """Return bars or lines of values by the first dimension, in the order of the frame.

    Each member of a second dimension has a colour and a part of a bar, whose length is the sum.
    Each value has a colour and a bar.
    """
    across, *others = dimensions
    plotted = pd.DataFrame(
        [
            {
                "label": _member(row[across.name], across.grain),
                "series": ", ".join(
                    [_member(row[one.name], one.grain) for one in others]
                    + ([value.label] if len(values) > 1 or not others else [])
                ),
                "plotted": as_float(row[value.name]),
                "exact": exact(row[value.name], value.currency),
            }
            for row in frame.to_dict("records")
            for value in values
        ],
        columns=["label", "series", "plotted", "exact"],
    )
    is_horizontal = kind == "bars" and not across.grain
    labels, series = list(dict.fromkeys(plotted["label"])), list(dict.fromkeys(plotted["series"]))
    if is_horizontal and others:
        totals = plotted.groupby("label")["plotted"].sum()
        labels.sort(key=lambda label: -totals[label])
    most = MAX_MEMBERS if is_horizontal else MAX_PERIODS
    note = " ".join(
        f"{what}: {shown:,} of {count:,} shown."
        for what, count, shown in (
            (across.label, len(labels), most),
            ("Colours", len(series), MAX_SERIES),
        )
        if count > shown
    )
    labels, series = labels[:most], series[:MAX_SERIES]
    plotted = plotted[plotted["label"].isin(labels) & plotted["series"].isin(series)]
    unit = values[0].currency or (values[0].label if len(values) == 1 else "")
    chart = alt.Chart(plotted).encode(
        tooltip=[
            alt.Tooltip("label:N", title=across.label),
            alt.Tooltip("series:N", title="Series"),
            alt.Tooltip("exact:N", title="Value"),
        ],
        color=coloured("series:N", series, dark=dark)
        if len(series) > 1
        else alt.value(accent(dark=dark)),
    )
    is_grouped = kind == "bars" and len(values) > 1
    height = HEIGHT
    if is_horizontal:
        axis = alt.Axis(labelLimit=180, labelOverlap=False)
        chart = chart.mark_bar(cornerRadiusEnd=2).encode(
            y=alt.Y("label:N", sort=labels, title=None, axis=axis),
            x=money_axis("plotted:Q", unit, plotted["plotted"], way=alt.X),
        )
        if is_grouped:
            chart = chart.encode(yOffset=alt.YOffset("series:N", sort=series))
        height = len(labels) * _BAR_HEIGHT * (len(values) if is_grouped else 1) + _AXIS_HEIGHT
    else:
        chart = (chart.mark_bar() if kind == "bars" else chart.mark_line(point=True)).encode(
            x=period_axis(labels), y=money_axis("plotted:Q", unit, plotted["plotted"])
        )
        if is_grouped:
            chart = chart.encode(xOffset=alt.XOffset("series:N", sort=series))
    parts = [
        f"{row['label']}, {row['series']}: {row['exact']}"
        for row in plotted.head(_DESCRIBED).to_dict("records")
    ]
    rest = f"; {len(plotted) - len(parts):,} more" if len(plotted) > len(parts) else ""
    description = f"{'; '.join(parts)}{rest}. {note}".rstrip()
    return Chart(styled(chart, height, dark=dark), description, note)


def exact(value: Any, currency: str = "") -> str:
    """Return a number with all of its digits, or an amount with its currency."""
    if currency and isinstance(value, Decimal | None):
        return text.money(value, currency, exact=True)
    return "-" if text.is_missing(value) else f"{value:,}"


def _member(value: Any, grain: str) -> str:
    """Return the name of a member of a dimension; - for NULL."""
    if grain and isinstance(value, date):
        return period_label(value, grain)
    return "-" if text.is_missing(value) else text.plain(value)
