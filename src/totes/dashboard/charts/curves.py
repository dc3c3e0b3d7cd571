"""Lines over time."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import INK_DARK, INK_LIGHT
from totes.dashboard.charts.drawing import (
    HEIGHT,
    PERIOD,
    Chart,
    as_float,
    coloured,
    finished,
    legend_above,
    money_axis,
    on_click,
    period_axis,
    period_label,
    period_labels,
    says_over_time,
)


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
    labels = period_labels(frame["start"], grain)
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
            {"label": label, "what": name, "plotted": as_float(value)}
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
            x=period_axis(labels),
            y=money_axis("plotted:Q", currency, plotted["plotted"]),
            color=coloured("what:N", names, dark=dark, stroke=True),
            strokeDash=alt.StrokeDash("what:N", sort=names, legend=legend_above(stroke=True)),
        )
    )
    pointed = alt.selection_point(
        name="pointed", fields=["start"], on="pointerover", clear="pointerout", empty=False
    )
    columns_of_it = (
        alt.Chart(periods)
        .mark_rect(color=INK_DARK if dark else INK_LIGHT, cursor="pointer" if leads else "default")
        .encode(
            x=period_axis(labels),
            opacity=alt.condition(pointed, alt.value(0.12), alt.value(0)),
            tooltip=[
                alt.Tooltip("whole:N", title=grain.capitalize()),
                *(alt.Tooltip(f"{name}:N", title=name) for name in names),
            ],
        )
        .add_params(pointed, *([on_click(PERIOD, "start")] if leads else []))
    )
    drawn = finished(drawn + columns_of_it, HEIGHT, dark=dark)
    says = " ".join(
        says_over_time(frame, column, name, grain, currency) for column, name in columns.items()
    )
    return Chart(drawn, says)
