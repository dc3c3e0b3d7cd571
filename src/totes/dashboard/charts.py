"""Charts: colours that everybody can tell apart, exact values in tooltips, and what they say.

Each chart comes with a sentence that says the same for whoever doesn't see it. Amounts are plotted
as floats, where a pixel is coarser than any rounding; tooltips show the exact Decimal. Times on an
axis are words made here, so that no browser's time zone moves them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text, world

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW = "#E69F00", "#56B4E9", "#F0E442"

LIGHT = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, YELLOW)
DARK = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILLION, BLUE)
"""Okabe and Ito's colours without black, those with the most contrast first."""

MOST = 7
"""Categories in a chart; what is left is told in words."""

INK_LIGHT, INK_DARK = "#4A4E57", "#D5D8DE"
"""Words in a chart, on a light page and on a dark one."""

MAP_LIGHT = ("#8FC1E3", BLUE, "#E9ECEF")
MAP_DARK = ("#2C6A94", "#9AD3F5", "#2A2F37")
"""A map's colours for the least, for the most, and for nothing."""

PERIOD, ONE = "period", "one"
"""The selections that a click makes: of a period, and of one of what there is."""

NO_SALES = -1.0
"""Plotted for countries where nothing was; a null would leave them out of the map."""

_BAR_HEIGHT = 26
_AXIS_HEIGHT = 70
_WORDS_HEIGHT = 24
_HEIGHT = 280
_LEGEND_WIDTH = 80

_SHORT_AMOUNT = (
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


def accent(*, dark: bool) -> str:
    """The colour of a chart that needs only one."""
    return (DARK if dark else LIGHT)[0]


def deadline_colour(*, dark: bool) -> str:
    return ORANGE if dark else "#B34F00"


def folded(frame: pd.DataFrame, most: int = MOST) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first rows, and the others."""
    return frame.iloc[:most], frame.iloc[most:]


def added(values: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of what is known; None where there is something, and nothing of it is known."""
    given = list(values)
    known = [value for value in given if value is not None and not text.is_missing(value)]
    return sum(known, Decimal(0)) if known or not given else None


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
    """Bars of a value for each period; a click on one is the selection `PERIOD`."""
    plotted = pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            "label": _labels(frame["start"], grain),
            "whole": [period_label(start, grain) for start in frame["start"]],
            "plotted": [_plotted(value) for value in frame[column]],
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
            x=_periods(list(plotted["label"])),
            y=_amounts("plotted:Q", currency, plotted["plotted"]),
            tooltip=shown,
        )
        .add_params(_click(PERIOD, "start"))
    )
    drawn = _finished(drawn, _HEIGHT, dark=dark)
    return Chart(drawn, _says_over_time(frame, column, what, grain, currency))


def lines(  # noqa: PLR0913  what lines over time are made of
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    grain: str,
    currency: str,
    *,
    dark: bool,
    leads: bool = False,
) -> Chart:
    """Several values for each period, as lines that differ in colour and in dashes.

    Where it `leads` into periods, a click anywhere over or under one is the selection `PERIOD`.
    """
    labels = _labels(frame["start"], grain)
    periods = pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            "label": labels,
            "whole": [period_label(start, grain) for start in frame["start"]],
            **{
                name: [text.money(value, currency, exact=True) for value in frame[column]]
                for column, name in columns.items()
            },
        }
    )
    plotted = pd.DataFrame(
        [
            {"label": label, "what": name, "plotted": _plotted(value)}
            for column, name in columns.items()
            for label, value in zip(labels, frame[column], strict=True)
        ],
        columns=["label", "what", "plotted"],
    )
    names = list(columns.values())
    drawn = (
        alt.Chart(plotted)
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=_periods(labels),
            y=_amounts("plotted:Q", currency, plotted["plotted"]),
            color=_colours("what:N", names, dark=dark, stroke=True),
            strokeDash=alt.StrokeDash("what:N", sort=names, legend=_legend(stroke=True)),
        )
    )
    pointed = alt.selection_point(
        name="pointed", fields=["start"], on="pointerover", clear="pointerout", empty=False
    )
    columns_of_it = (
        alt.Chart(periods)
        .mark_rect(color=INK_DARK if dark else INK_LIGHT, cursor="pointer" if leads else "default")
        .encode(
            x=_periods(labels),
            opacity=alt.condition(pointed, alt.value(0.12), alt.value(0)),
            tooltip=[
                alt.Tooltip("whole:N", title=grain.capitalize()),
                *(alt.Tooltip(f"{name}:N", title=name) for name in names),
            ],
        )
        .add_params(pointed, *([_click(PERIOD, "start")] if leads else []))
    )
    drawn = _finished(drawn + columns_of_it, _HEIGHT, dark=dark)
    says = " ".join(
        _says_over_time(frame, column, name, grain, currency) for column, name in columns.items()
    )
    return Chart(drawn, says)


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
            "plotted": [_plotted(value) for value in frame["value"]],
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
            x=_amounts("plotted:Q", currency, plotted["plotted"], way=alt.X),
            tooltip=[
                alt.Tooltip("name:N", title="Name"),
                alt.Tooltip("exact:N", title=what),
                *(alt.Tooltip(f"{name}:N", title=name) for name in (tooltips or {}).values()),
            ],
        )
    )
    if narrows:
        drawn = drawn.add_params(_click(ONE, "key"))
    height = len(names) * _BAR_HEIGHT + _AXIS_HEIGHT
    told = [
        f"{name} {text.money(value, currency)}"
        for name, value in zip(names, frame["value"], strict=True)
    ]
    if len(others):
        rest = f"all others together {text.money(added(others['value']), currency)}"
        told.append(rest)
        drawn = drawn.properties(title=_words_below(f"Not drawn: {rest}", dark=dark))
        height += _WORDS_HEIGHT
    says = f"{what}, the largest first: {'; '.join(told)}." if told else f"{what}: nothing."
    return Chart(_finished(drawn, height, dark=dark), says)


def by_country(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each country on the map: two of its names are one country, the largest first."""
    codes = [world.code_of(str(name)) or str(name) for name in frame["name"]]
    if len(set(codes)) == len(codes):
        return frame
    counted = "units" if "units" in frame.columns else "quantity"
    merged = []
    for _, same in frame.groupby(codes, sort=False):
        row = same.iloc[0].to_dict()
        if len(same) > 1:
            for column in ("value", "share"):
                row[column] = added(same[column])
            for column in ("orders", counted, "unconverted"):
                row[column] = same[column].sum()
            whole = row[counted] and not row["unconverted"]
            price = row["value"] / int(row[counted]) if whole else None
            row["average_price"] = price and price.quantize(Decimal("0.0001"))
        merged.append(row)
    merged.sort(key=lambda row: (row["value"] is None, -(row["value"] or 0)))
    return pd.DataFrame(merged, columns=frame.columns).astype(
        dict.fromkeys(("value", "share", "average_price"), object)
    )


def world_map(frame: pd.DataFrame, what: str, currency: str, *, dark: bool) -> Chart:
    """Countries, darker (on a dark page lighter) for more; `name` and `value` tell how much.

    One that is too small to be seen is a disc. A click on one is the selection `ONE`, of its code.
    """
    sums: dict[str, Decimal | None] = {}
    called: dict[str, str] = {}
    missing = []
    for name, value in zip(frame["name"], frame["value"], strict=True):
        code = world.code_of(str(name))
        if code is None:
            missing.append(text.plain(name))
            continue
        sums[code] = added([sums[code], value]) if code in sums else added([value])
        called.setdefault(code, text.plain(name))
    known = {code: value for code, value in sums.items() if value is not None}
    features = [
        {
            **(world.seen(feature) if code in sums else feature),
            "properties": {
                "name": called.get(code, world.name_of(code)),
                "exact": text.money(sums[code], currency, exact=True) if code in sums else "none",
                "plotted": float(known[code]) if code in known else NO_SALES,
            },
        }
        for feature in sorted(world.countries(), key=lambda feature: feature["id"] in sums)
        for code in [feature["id"]]
    ]
    most = float(max(known.values(), default=Decimal(0))) or 1.0
    low, high, none = MAP_DARK if dark else MAP_LIGHT
    drawn = (
        alt.Chart(alt.InlineData(values=features))
        .mark_geoshape(stroke="#3A4149" if dark else "white", strokeWidth=0.5, cursor="pointer")
        .encode(
            color=alt.condition(
                f"datum.properties.plotted != {NO_SALES}",
                alt.Color(
                    "properties.plotted:Q",
                    scale=alt.Scale(range=[low, high], domain=[0, most], clamp=True, nice=2),
                    legend=alt.Legend(
                        title=f"{what}, {currency}",
                        orient="bottom-left",  # where there is nothing but the Pacific
                        offset=0,
                        gradientLength=_LEGEND_WIDTH,
                        gradientThickness=8,
                        tickCount=2,
                        labelExpr=_SHORT_AMOUNT,
                        direction="horizontal",
                    ),
                ),
                alt.value(none),
            ),
            tooltip=[
                alt.Tooltip("properties.name:N", title="Country"),
                alt.Tooltip("properties.exact:N", title=what),
            ],
        )
        .project(type="identity")
        .add_params(_click(ONE, "id"))
    )
    drawn = _finished(drawn, None, dark=dark)
    largest = sorted(known, key=known.__getitem__, reverse=True)[:MOST]
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
            "plotted": [_plotted(value) for value in frame["value"]],
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
            y=_amounts("plotted:Q", currency, plotted["plotted"]),
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
            "when": [f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for at in frame["captured_at"]],
            "at": [text.moment(at) for at in frame["captured_at"]],
        }
    )
    deadline = pd.DataFrame({"seconds": [line_seconds], "name": ["30 minutes: the deadline"]})
    scale = alt.Scale(type="symlog", constant=1, domainMin=0, domainMax=line_seconds * 2)
    y = alt.Y(
        "seconds:Q",
        scale=scale,
        title="Seconds",
        axis=alt.Axis(values=[0, 1, 10, 60, 600, 1800], format="d", labelOverlap=False),
    )
    dots = (
        alt.Chart(plotted)
        .mark_line(point=True, color=accent(dark=dark))
        .encode(
            x=alt.X(
                "when:T",
                title="Captured, UTC",
                scale=alt.Scale(type="utc"),
                axis=alt.Axis(
                    format=_clock_format(frame["captured_at"]),
                    labelOverlap="greedy",
                    labelSeparation=8,
                    tickCount=6,
                ),
            ),
            y=y,
            tooltip=[
                alt.Tooltip("batch:Q", title="Batch"),
                alt.Tooltip("at:N", title="Captured"),
                alt.Tooltip("seconds:Q", title="Seconds", format=".1f"),
            ],
        )
    )
    colour = deadline_colour(dark=dark)
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


def _clock_format(moments: "pd.Series[Any]") -> str:
    """As much of a moment as tells those on one axis apart."""
    span = (max(moments) - min(moments)) if len(moments) else timedelta()
    if span < timedelta(minutes=20):
        return "%H:%M:%S"
    return "%H:%M" if span < timedelta(days=1) else "%-d %b %H:%M"


def _finished(drawn: Any, height: int | None, *, dark: bool) -> Any:
    """With words that stand out from the page enough to be read by everybody."""
    ink = INK_DARK if dark else INK_LIGHT
    return (
        (drawn.properties(height=height) if height else drawn)
        .properties(padding={"left": 5, "top": 5, "right": 16, "bottom": 5})
        .configure_axis(labelColor=ink, titleColor=ink)
        .configure_legend(labelColor=ink, titleColor=ink)
    )


def _words_below(words: str, *, dark: bool) -> alt.Title:
    return alt.Title(
        words,
        orient="bottom",
        anchor="start",
        fontSize=12,
        fontWeight="normal",
        color=INK_DARK if dark else INK_LIGHT,
    )


def _plotted(value: Decimal | None) -> float | None:
    return None if value is None or text.is_missing(value) else float(value)


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
        axis=alt.Axis(
            labelAngle=0,
            labelAlign="center",
            labelFlush=False,
            labelOverlap="greedy",
            labelSeparation=8,
            ticks=False,
        ),
    )


def _amounts(field: str, currency: str, values: "Iterable[float | None]", way: Any = alt.Y) -> Any:
    """An axis of money; where there is none, one with nothing but its zero."""
    if any(value for value in values if value == value):  # noqa: PLR0124  not a number
        return way(
            field,
            title=currency,
            scale=alt.Scale(nice=5),  # so that the last label is one of the axis's end
            axis=alt.Axis(
                tickCount=5, labelExpr=_SHORT_AMOUNT, labelOverlap="greedy", labelFlush=True
            ),
        )
    return way(
        field,
        title=currency,
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(values=[0], format="d"),
    )


def _click(name: str, field: str) -> alt.Parameter:
    return alt.selection_point(name=name, fields=[field], on="click", empty=True)


def _legend(*, stroke: bool = False) -> alt.Legend:
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


def _colours(field: str, names: Sequence[str], *, dark: bool, stroke: bool = False) -> alt.Color:
    colours = list((DARK if dark else LIGHT)[: len(names)])
    return alt.Color(
        field,
        sort=list(names),
        scale=alt.Scale(domain=list(names), range=colours),
        legend=_legend(stroke=stroke),
    )


def _says_over_time(frame: pd.DataFrame, column: str, what: str, grain: str, currency: str) -> str:
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


def busy(frame: pd.DataFrame, columns: Iterable[str], most: int = 62) -> pd.DataFrame:
    """Of very many periods those from the first to the last in which something happened."""
    if len(frame) <= most:
        return frame
    places = [place for place, any_of_it in enumerate(_happened(frame, columns)) if any_of_it]
    return frame.iloc[places[0] : places[-1] + 1] if places else frame.iloc[-1:]


def happened(frame: pd.DataFrame, columns: Iterable[str]) -> bool:
    """Whether there is anything in a column but zeros."""
    return bool(_happened(frame, columns).any())


def _happened(frame: pd.DataFrame, columns: Iterable[str]) -> "pd.Series[bool]":
    """In which rows; what isn't known is something."""
    each = frame[list(columns)].map(lambda value: text.is_missing(value) or bool(value))
    return each.any(axis=1)


def as_date(value: object) -> date:
    """What a selection of a period says."""
    return datetime.fromisoformat(str(value)).date()
