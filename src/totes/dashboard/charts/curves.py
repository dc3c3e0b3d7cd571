"""Line charts by period."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import INK_DARK, INK_LIGHT
from totes.dashboard.charts.drawing import (
    DOTTED,
    HEIGHT,
    NO_EVENTS,
    PERIOD,
    Chart,
    as_float,
    chart_note,
    coloured,
    describe_series,
    event_marks,
    legend_above,
    money_axis,
    on_click,
    period_axis,
    period_labels,
    previous_texts,
    styled,
    whole_labels,
)
from totes.dashboard.charts.series import BEFORE

_COMPLETE = "complete"


def lines(  # noqa: PLR0913  the parts of a chart
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    grain: str,
    currency: str,
    *,
    dark: bool,
    clickable: bool = False,
    incomplete: Sequence[bool] = (),
    events: Mapping[int, Sequence[str]] = NO_EVENTS,
) -> Chart:
    """Return lines of several columns by period, which differ in colour and in their points.

    Lines from and to periods that are `incomplete`, at the ends, are dashed. Values of the previous
    period, in columns `…_before`, are dotted lines. `events` are texts by their period's place.

    If `clickable`, a click anywhere above or below a period sets the selection `PERIOD`.
    """
    incomplete = incomplete or [False] * len(frame)
    labels = period_labels(frame["start"], grain)
    names = list(columns.values())
    compared = {
        column: name for column, name in columns.items() if f"{column}{BEFORE}" in frame.columns
    }
    periods = _periods(frame, columns, compared, grain, currency).assign(
        label=labels, whole=whole_labels(frame["start"], grain, incomplete)
    )

    def base(values: pd.DataFrame) -> alt.Chart:
        return alt.Chart(values).encode(
            x=period_axis(labels),
            y=money_axis("plotted:Q", currency, values["plotted"]),
            color=coloured("what:N", names, dark=dark),
        )

    current = base(_values(frame, columns, labels, incomplete))
    is_whole = f"datum.run === '{_COMPLETE}'"
    curves = current.mark_line(strokeWidth=2).encode(
        detail="run:N",
        strokeDash=alt.condition(is_whole, alt.value([1, 0]), alt.value([4, 4])),
    )
    points = current.mark_point(filled=True, size=40, opacity=1).encode(
        shape=alt.Shape("what:N", sort=names, legend=legend_above())
    )
    chart = curves + points + _click_areas(periods, labels, grain, dark=dark, clickable=clickable)
    if compared:
        previous = base(_previous_values(frame, compared, labels))
        chart = previous.mark_line(strokeDash=DOTTED, strokeWidth=1.5) + chart
    if events:
        chart += event_marks(labels, events, dark=dark)
    note = chart_note(frame, columns, grain, incomplete, events)
    chart = styled(chart, HEIGHT, dark=dark)
    description = " ".join(
        describe_series(frame, column, name, grain, currency) for column, name in columns.items()
    )
    return Chart(chart, f"{description} {note}".rstrip(), note)


def _periods(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    compared: Mapping[str, str],
    grain: str,
    currency: str,
) -> pd.DataFrame:
    """Return a row for each period, with the exact amounts as texts."""
    return pd.DataFrame(
        {
            "start": [start.isoformat() for start in frame["start"]],
            **{
                name: [text.money(value, currency, exact=True) for value in frame[column]]
                for column, name in columns.items()
            },
            **{
                f"{name}, previous": previous_texts(frame, column, grain, currency)
                for column, name in compared.items()
            },
        }
    )


def _values(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    labels: Sequence[str],
    incomplete: Sequence[bool],
) -> pd.DataFrame:
    """Return a row for each point of a line; a line has up to three runs."""
    return pd.DataFrame(
        [
            {"label": labels[place], "what": name, "run": run, "plotted": as_float(values[place])}
            for column, name in columns.items()
            for values in (list(frame[column]),)
            for run, places in _runs(incomplete).items()
            for place in places
        ],
        columns=["label", "what", "run", "plotted"],
    )


def _previous_values(
    frame: pd.DataFrame, compared: Mapping[str, str], labels: Sequence[str]
) -> pd.DataFrame:
    """Return a row for each point of a line of the previous period."""
    return pd.DataFrame(
        [
            {"label": label, "what": name, "plotted": as_float(value)}
            for column, name in compared.items()
            for label, value in zip(labels, frame[f"{column}{BEFORE}"], strict=True)
        ],
        columns=["label", "what", "plotted"],
    )


def _click_areas(
    periods: pd.DataFrame, labels: Sequence[str], grain: str, *, dark: bool, clickable: bool
) -> Any:
    """Return invisible areas with the texts of each period, which may be clicked."""
    hovered = alt.selection_point(
        name="hovered", fields=["start"], on="pointerover", clear="pointerout", empty=False
    )
    return (
        alt.Chart(periods)
        .mark_rect(
            color=INK_DARK if dark else INK_LIGHT, cursor="pointer" if clickable else "default"
        )
        .encode(
            x=period_axis(labels),
            opacity=alt.condition(hovered, alt.value(0.12), alt.value(0)),
            tooltip=[
                alt.Tooltip("whole:N", title=grain.capitalize()),
                *(
                    alt.Tooltip(f"{name}:N", title=name)
                    for name in periods.columns
                    if name not in ("start", "label", "whole")
                ),
            ],
        )
        .add_params(hovered, *([on_click(PERIOD, "start")] if clickable else []))
    )


def _runs(incomplete: Sequence[bool]) -> dict[str, range]:
    """Return the places of the complete periods, and of each end from its neighbour on.

    Incomplete periods are at the ends.
    """
    complete = [place for place, is_incomplete in enumerate(incomplete) if not is_incomplete]
    if not complete:
        return {"incomplete": range(len(incomplete))}
    first, last = complete[0], complete[-1]
    runs = {
        "first": range(first + 1 if first else 0),
        _COMPLETE: range(first, last + 1),
        "last": range(last if last + 1 < len(incomplete) else len(incomplete), len(incomplete)),
    }
    return {run: places for run, places in runs.items() if places}
