"""What all charts have: axes, legends, clicks, sizes, and the words that say the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import DARK, INK_DARK, INK_LIGHT, LIGHT
from totes.dashboard.charts.series import added

PERIOD, ONE = "period", "one"
"""The selections that a click makes: of a period, and of one of what there is."""

HEIGHT = 280

SHORT_AMOUNT = (
    "datum.value === 0 ? '0' : "
    + " : ".join(
        f"abs(datum.value) >= {size} ? format(datum.value / {size}, ',.3~f') + '{name}'"
        for size, name in ((1e12, " tn"), (1e9, " bn"), (1e6, " m"), (1e3, " k"), (0, ""))
    ).replace("/ 0,", "/ 1,")
    + " : ''"
)
"""An amount on an axis, as Vega is told: `0`, `10 k`, `2.5 m`, `10 bn`."""

_SHORT_DAYS = 300
"""As long as days don't repeat, they are told without their year."""


@dataclass(frozen=True)
class Chart:
    """What is drawn, and what it says."""

    drawn: alt.Chart | alt.LayerChart
    says: str


def period_label(start: date, grain: str) -> str:
    """Name of the year, month or day that begins at `start`, such as `Jan 2024`."""
    match grain:
        case "year":
            return f"{start:%Y}"
        case "month":
            return f"{start:%b %Y}"
        case _:
            return f"{start.day} {start:%b %Y}"


def finished(drawn: Any, height: int | None, *, dark: bool) -> Any:
    """With words that stand out from the page enough to be read by everybody."""
    ink = INK_DARK if dark else INK_LIGHT
    return (
        (drawn.properties(height=height) if height else drawn)
        .properties(padding={"left": 5, "top": 5, "right": 16, "bottom": 5})
        .configure_axis(labelColor=ink, titleColor=ink)
        .configure_legend(labelColor=ink, titleColor=ink)
    )


def words_below(words: str, *, dark: bool) -> alt.Title:
    """A caption below the chart."""
    return alt.Title(
        words,
        orient="bottom",
        anchor="start",
        fontSize=12,
        fontWeight="normal",
        color=INK_DARK if dark else INK_LIGHT,
    )


def as_float(value: Decimal | None) -> float | None:
    """A number for Vega, which has no decimals; None for NULL and NaN."""
    return None if value is None or text.is_missing(value) else float(value)


def period_labels(starts: "pd.Series[Any]", grain: str) -> list[str]:
    """Short names of periods, each another."""
    days = list(starts)
    if grain == "day" and days and (days[-1] - days[0]).days < _SHORT_DAYS:
        return [f"{start.day} {start:%b}" for start in days]
    return [period_label(start, grain) for start in days]


def period_axis(labels: Sequence[str]) -> alt.X:
    """The axis of periods, in the given order, without the labels that would overlap."""
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
    """An axis of money; where there is none, one with nothing but its zero."""
    if any(value for value in values if value == value):  # noqa: PLR0124  not a number
        ticks = 3 if way is alt.X else 5
        return way(
            field,
            title=currency,
            scale=alt.Scale(nice=ticks),  # so that the last label is one of the axis's end
            axis=alt.Axis(
                tickCount=ticks,
                labelExpr=SHORT_AMOUNT,
                labelOverlap="parity",  # where it is narrow, every other one is left out
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
    """A selection named `name` that a click sets to the mark's `field`."""
    return alt.selection_point(name=name, fields=[field], on="click", empty=True)


def legend_above(*, stroke: bool = False) -> alt.Legend:
    """Above the chart and near it; of lines with a piece of each, dashed as it is."""
    if stroke:
        return alt.Legend(
            title=None,
            orient="top",
            offset=6,
            symbolType="stroke",
            symbolSize=400,
            symbolStrokeWidth=2,
        )
    return alt.Legend(title=None, orient="top", offset=6)


def coloured(field: str, names: Sequence[str], *, dark: bool, stroke: bool = False) -> alt.Color:
    """One colour for each of `names`, with a legend; there are as many names as colours at most."""
    colours = list((DARK if dark else LIGHT)[: len(names)])
    return alt.Color(
        field,
        sort=list(names),
        scale=alt.Scale(domain=list(names), range=colours),
        legend=legend_above(stroke=stroke),
    )


def says_over_time(frame: pd.DataFrame, column: str, what: str, grain: str, currency: str) -> str:
    """Text alternative of a chart: range, total and maximum of the frame's `column`."""
    if frame.empty:
        return f"{what}: nothing."
    starts, values = list(frame["start"]), list(frame[column])
    known = [place for place, value in enumerate(values) if not text.is_missing(value)]
    when = f"from {period_label(starts[0], grain)} to {period_label(starts[-1], grain)}"
    missing = int(frame["unconverted"].sum()) if "unconverted" in frame.columns else 0
    rest = f" Not converted: {text.count(missing, 'row')}." if missing else ""
    if not known:
        return f"{what} by {grain} {when}: {text.NOT_CONVERTED}.{rest}"
    best = max(known, key=values.__getitem__)
    return (
        f"{what} by {grain} {when}: {text.money(added(values), currency)} in all, the most in "
        f"{period_label(starts[best], grain)} ({text.money(values[best], currency)}).{rest}"
    )
