"""Charts: colours that everybody can tell apart, exact values in tooltips, and what they say.

Each chart comes with a sentence that says the same for whoever doesn't see it. Amounts are plotted
as floats, where a pixel is coarser than any rounding; tooltips show the exact Decimal. Times on an
axis are words made here, so that no browser's time zone moves them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text, world

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#8C8C8C"

LIGHT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
DARK = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION, BLUE)
"""Okabe and Ito's colours without black, those with the most contrast first."""

MOST = 7
"""Categories in a chart; what is left is one more, "other"."""

OTHER = "other"

NO_SALES = -1.0
"""Plotted for countries where nothing was; a null would leave them out of the map."""

_BAR_HEIGHT = 26
_AXIS_HEIGHT = 70
_HEIGHT = 280
_MAP_HEIGHT = 340

_SHORT_DAYS = 300
"""As long as days don't repeat, they are told without their year."""


@dataclass(frozen=True)
class Chart:
    """What is drawn, and what it says."""

    drawn: alt.Chart | alt.LayerChart
    says: str


def accent(*, dark: bool) -> str:
    """The colour of a chart that needs only one."""
    return (DARK if dark else LIGHT)[0]


def folded(frame: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """The first rows, and one called "other" with the sums of all others; `name` names them."""
    if len(frame) <= most:
        return frame
    rest = frame.iloc[most:]
    row: dict[str, Any] = dict.fromkeys(frame.columns)
    row["name"] = OTHER
    for column in ("value", "orders", "units", "quantity", "share", "unconverted"):
        if column in frame.columns:
            row[column] = rest[column].sum()
    other = pd.DataFrame([row], columns=frame.columns).astype(object)
    return pd.concat([frame.iloc[:most].astype(object), other], ignore_index=True)


def period_label(start: date, grain: str) -> str:
    match grain:
        case "year":
            return f"{start:%Y}"
        case "month":
            return f"{start:%b %Y}"
        case _:
            return f"{start.day} {start:%b %Y}"


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
    """Bars of a value for each period; a click on one is the selection `period`."""
    plotted = pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            "label": _labels(frame["start"], grain),
            "whole": [period_label(start, grain) for start in frame["start"]],
            "plotted": [float(value) for value in frame[column]],
            "exact": [text.money(value, currency, exact=True) for value in frame[column]],
            **{
                name: [f"{value:,}" for value in frame[of]] for of, name in (tooltips or {}).items()
            },
        }
    )
    click = alt.selection_point(name="period", fields=["start"], on="click", empty=True)
    shown = [
        alt.Tooltip("whole:N", title=grain.capitalize()),
        alt.Tooltip("exact:N", title=what),
        *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
    ]
    drawn = (
        alt.Chart(plotted)
        .mark_bar(color=accent(dark=dark), cursor="pointer", cornerRadiusEnd=2)
        .encode(
            x=_periods(list(plotted["label"])),
            y=_amounts("plotted:Q", currency),
            tooltip=shown,
        )
        .add_params(click)
    )
    drawn = _finished(drawn, _HEIGHT, dark=dark)
    return Chart(drawn, _says_over_time(frame, column, what, grain, currency))


def lines(
    frame: pd.DataFrame, columns: Mapping[str, str], grain: str, currency: str, *, dark: bool
) -> Chart:
    """Several values for each period, as lines that differ in colour and in dashes."""
    labels = _labels(frame["start"], grain)
    plotted = pd.DataFrame(
        [
            {
                "label": label,
                "whole": period_label(row["start"], grain),
                "what": name,
                "plotted": float(row[column]),
                "exact": text.money(row[column], currency, exact=True),
            }
            for label, (_, row) in zip(labels, frame.iterrows(), strict=True)
            for column, name in columns.items()
        ],
        columns=["label", "whole", "what", "plotted", "exact"],
    )
    names = list(columns.values())
    drawn = (
        alt.Chart(plotted)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=_periods(labels),
            y=_amounts("plotted:Q", currency),
            color=_colours("what:N", names, dark=dark),
            strokeDash=alt.StrokeDash("what:N", sort=names, legend=None),
            tooltip=[
                alt.Tooltip("whole:N", title=grain.capitalize()),
                alt.Tooltip("what:N", title="What"),
                alt.Tooltip("exact:N", title="Amount"),
            ],
        )
    )
    drawn = _finished(drawn, _HEIGHT, dark=dark)
    says = " ".join(
        _says_over_time(frame, column, name, grain, currency) for column, name in columns.items()
    )
    return Chart(drawn, says)


def ranked(
    frame: pd.DataFrame,
    what: str,
    currency: str,
    *,
    dark: bool,
    tooltips: Mapping[str, str] | None = None,
) -> Chart:
    """Bars for names, the largest value first, at most seven and "other"."""
    frame = folded(frame)
    names = _distinct([text.plain(name) for name in frame["name"]])
    plotted = pd.DataFrame(
        {
            "name": names,
            "plotted": [float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
            "shown": [text.money(value, currency) for value in frame["value"]],
            "is_other": [name == OTHER for name in names],
            **{name: [f"{v:,}" for v in frame[of]] for of, name in (tooltips or {}).items()},
        }
    )
    base = alt.Chart(plotted).encode(
        y=alt.Y(
            "name:N", sort=names, title=None, axis=alt.Axis(labelLimit=180, labelOverlap=False)
        ),
        x=_amounts("plotted:Q", currency, way=alt.X),
        tooltip=[
            alt.Tooltip("name:N", title="Name"),
            alt.Tooltip("exact:N", title=what),
            *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        color=alt.condition("datum.is_other", alt.value(GREY), alt.value(accent(dark=dark)))
    )
    drawn = _finished(bars, len(names) * _BAR_HEIGHT + _AXIS_HEIGHT, dark=dark)
    says = f"{what}, the largest first: " + "; ".join(
        f"{name} {shown}" for name, shown in zip(names, plotted["shown"], strict=True)
    )
    return Chart(drawn, f"{says}." if names else f"{what}: nothing.")


def world_map(frame: pd.DataFrame, what: str, currency: str, *, dark: bool) -> Chart:
    """Countries, darker (on a dark page lighter) for more; `name` and `value` tell how much."""
    sums: dict[str, Decimal] = {}
    called: dict[str, str] = {}
    missing = []
    for name, value in zip(frame["name"], frame["value"], strict=True):
        code = world.code_of(str(name))
        if code is None:
            missing.append(text.plain(name))
            continue
        sums[code] = sums.get(code, Decimal(0)) + value
        called.setdefault(code, text.plain(name))
    features = [
        {
            **feature,
            "properties": {
                "name": called.get(code, world.name_of(code)),
                "exact": text.money(sums[code], currency, exact=True) if code in sums else "none",
                "plotted": float(sums[code]) if code in sums else NO_SALES,
            },
        }
        for feature in world.countries()
        for code in [feature["id"]]
    ]
    most = float(max(sums.values(), default=Decimal(0))) or 1.0
    low, high = ("#1B3A4B", SKY) if dark else ("#CFE3F1", BLUE)
    drawn = (
        alt.Chart(alt.InlineData(values=features))
        .mark_geoshape(stroke="#3A4149" if dark else "white", strokeWidth=0.5)
        .encode(
            color=alt.condition(
                f"datum.properties.plotted != {NO_SALES}",
                alt.Color(
                    "properties.plotted:Q",
                    scale=alt.Scale(range=[low, high], domain=[0, most], clamp=True),
                    legend=alt.Legend(
                        title=f"{what}, {currency}",
                        orient="bottom",
                        format="~s",
                        direction="horizontal",
                    ),
                ),
                alt.value("#2A2F37" if dark else "#E9ECEF"),
            ),
            tooltip=[
                alt.Tooltip("properties.name:N", title="Country"),
                alt.Tooltip("properties.exact:N", title=what),
            ],
        )
        .project(type="identity")
    )
    drawn = _finished(drawn, _MAP_HEIGHT, dark=dark)
    largest = sorted(sums, key=sums.__getitem__, reverse=True)[:MOST]
    told = "; ".join(f"{called[code]} {text.money(sums[code], currency)}" for code in largest)
    says = f"A map of {what.lower()} by country, in {len(sums)} countries. The largest: {told}."
    if missing:
        says += f" Not on the map: {', '.join(missing)}."
    return Chart(drawn, says)


def side_by_side(  # noqa: PLR0913  what bars side by side are made of
    frame: pd.DataFrame, across: str, what: str, order: Sequence[str], currency: str, *, dark: bool
) -> Chart:
    """Bars side by side: for each of `across` one of each `what`; values in `value`."""
    kinds = list(dict.fromkeys(frame[what]))
    plotted = pd.DataFrame(
        {
            "across": frame[across],
            "what": frame[what],
            "plotted": [float(value) for value in frame["value"]],
            "exact": [text.money(value, currency, exact=True) for value in frame["value"]],
        }
    )
    drawn = (
        alt.Chart(plotted)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X("across:N", sort=list(order), title=None, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("what:N", sort=kinds),
            y=_amounts("plotted:Q", currency),
            color=_colours("what:N", kinds, dark=dark),
            tooltip=[
                alt.Tooltip("across:N", title="Age"),
                alt.Tooltip("what:N", title="What"),
                alt.Tooltip("exact:N", title="Amount"),
            ],
        )
    )
    drawn = _finished(drawn, _HEIGHT, dark=dark)
    says = "; ".join(
        f"{row['what']}, {row['across']}: {row['exact']}" for _, row in plotted.iterrows()
    )
    return Chart(drawn, f"{says}.")


def lag(frame: pd.DataFrame, line_seconds: float, *, dark: bool) -> Chart:
    """How long batches took from the look at totesys into the warehouse, with the deadline."""
    frame = frame.iloc[::-1]
    plotted = pd.DataFrame(
        {
            "batch": frame["batch"],
            "seconds": [float(value) for value in frame["lag_seconds"]],
            "at": [text.moment(at) for at in frame["captured_at"]],
        }
    )
    deadline = pd.DataFrame({"seconds": [line_seconds], "name": ["30 minutes: the deadline"]})
    scale = alt.Scale(type="symlog", constant=1, domainMin=0, domainMax=line_seconds * 2)
    y = alt.Y(
        "seconds:Q",
        scale=scale,
        title="Seconds",
        axis=alt.Axis(values=[0, 1, 10, 60, 600, 1800], format="d"),
    )
    dots = (
        alt.Chart(plotted)
        .mark_line(point=True, color=accent(dark=dark))
        .encode(
            x=alt.X(
                "batch:Q",
                title="Batch",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(format="d", tickMinStep=1),
            ),
            y=y,
            tooltip=[
                alt.Tooltip("batch:Q", title="Batch"),
                alt.Tooltip("at:N", title="Captured"),
                alt.Tooltip("seconds:Q", title="Seconds", format=".1f"),
            ],
        )
    )
    colour = ORANGE if dark else VERMILLION
    rule = alt.Chart(deadline).mark_rule(color=colour, strokeDash=[6, 4]).encode(y=y)
    words = (
        alt.Chart(deadline)
        .mark_text(align="left", dy=-7, color=colour, x=4)
        .encode(y=y, text="name:N")
    )
    worst = plotted["seconds"].max() if len(plotted) else 0.0
    over = int((plotted["seconds"] > line_seconds).sum())
    says = (
        f"Lag of the last {len(plotted)} batches: {worst:.0f} seconds at most; "
        f"{over} of them took longer than the deadline of {line_seconds / 60:.0f} minutes."
    )
    return Chart(_finished(dots + rule + words, _HEIGHT, dark=dark), says)


def _finished(drawn: Any, height: int, *, dark: bool) -> Any:
    """With words that stand out from the page enough to be read by everybody."""
    ink = "#D5D8DE" if dark else "#4A4E57"
    return (
        drawn.properties(height=height)
        .configure_axis(labelColor=ink, titleColor=ink)
        .configure_legend(labelColor=ink, titleColor=ink)
    )


def _labels(starts: "pd.Series[Any]", grain: str) -> list[str]:
    """Short names of periods, each another."""
    days = list(starts)
    if grain == "day" and days and (days[-1] - days[0]).days < _SHORT_DAYS:
        return [f"{start.day} {start:%b}" for start in days]
    return [period_label(start, grain) for start in days]


def _periods(labels: Sequence[str]) -> alt.X:
    return alt.X(
        "label:N",
        sort=list(labels),
        title=None,
        axis=alt.Axis(labelAngle=0, labelOverlap="greedy", labelSeparation=8, ticks=False),
    )


def _amounts(field: str, currency: str, way: Any = alt.Y) -> Any:
    return way(field, title=currency, axis=alt.Axis(format="~s", tickCount=5))


def _colours(field: str, names: Sequence[str], *, dark: bool) -> alt.Color:
    colours = list((DARK if dark else LIGHT)[: len(names)])
    return alt.Color(
        field,
        sort=list(names),
        scale=alt.Scale(domain=list(names), range=colours),
        legend=alt.Legend(title=None, orient="top"),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Two of the same name are two bars."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return made


def _says_over_time(frame: pd.DataFrame, column: str, what: str, grain: str, currency: str) -> str:
    if frame.empty:
        return f"{what}: nothing."
    values = list(frame[column])
    total = sum(values, Decimal(0))
    best = values.index(max(values))
    first, last = frame["start"].iloc[0], frame["start"].iloc[-1]
    return (
        f"{what} by {grain} from {period_label(first, grain)} to {period_label(last, grain)}: "
        f"{text.money(total, currency)} in all, the most in "
        f"{period_label(frame['start'].iloc[best], grain)} "
        f"({text.money(values[best], currency)})."
    )


def as_date(value: object) -> date:
    """What a selection of a period says."""
    return datetime.fromisoformat(str(value)).date()
