"""Lag of batches, with the deadline."""

from datetime import timedelta
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import accent, deadline_colour
from totes.dashboard.charts.drawing import HEIGHT, Chart, styled
from totes.dashboard.preferences import local


def lag(frame: pd.DataFrame, deadline_seconds: float, *, dark: bool) -> Chart:
    """Return the seconds from capture to load of each batch, with a line at the deadline."""
    frame = frame.iloc[::-1]
    captured_at = [local(at) for at in frame["captured_at"]]
    plotted = pd.DataFrame(
        {
            "batch": frame["batch"],
            "seconds": [float(value) for value in frame["lag_seconds"]],
            "when": [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in captured_at],
            "at": [text.moment(at) for at in frame["captured_at"]],
        }
    )
    minutes = f"{deadline_seconds / 60:.0f} minutes"
    deadline = pd.DataFrame({"seconds": [deadline_seconds], "name": [f"Deadline: {minutes}"]})
    scale = alt.Scale(type="symlog", constant=1, domainMin=0, domainMax=deadline_seconds * 2)
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
                title=f"Captured at ({text.time_zone()})",
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
                alt.Tooltip("at:N", title="Captured at"),
                alt.Tooltip("seconds:Q", title="Seconds", format=".1f"),
            ],
        )
    )
    colour = deadline_colour(dark=dark)
    rule = alt.Chart(deadline).mark_rule(color=colour, strokeDash=[6, 4]).encode(y=y)
    label = (
        alt.Chart(deadline)
        .mark_text(align="left", dy=-7, color=colour, x=4)
        .encode(y=y, text="name:N")
    )
    longest = plotted["seconds"].max() if len(plotted) else 0.0
    late = int((plotted["seconds"] > deadline_seconds).sum())
    description = (
        f"Lag of the last {len(plotted)} batches: {longest:.0f} seconds at most; "
        f"{late} exceeded the deadline of {minutes}."
    )
    return Chart(styled(dots + rule + label, HEIGHT, dark=dark), description)


def _clock_format(moments: "pd.Series[Any]") -> str:
    """Return the shortest format that distinguishes the moments of an axis."""
    span = (max(moments) - min(moments)) if len(moments) else timedelta()
    if span < timedelta(minutes=20):
        return "%H:%M:%S"
    return "%H:%M" if span < timedelta(days=1) else "%-d %b %H:%M"
