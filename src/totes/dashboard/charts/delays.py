"""How long batches took, with the deadline."""

from datetime import UTC, timedelta
from typing import Any

import altair as alt
import pandas as pd

from totes.dashboard import text
from totes.dashboard.charts.colours import accent, deadline_colour
from totes.dashboard.charts.drawing import HEIGHT, Chart, finished


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
    return Chart(finished(dots + rule + words, HEIGHT, dark=dark), says)


def _clock_format(moments: "pd.Series[Any]") -> str:
    """As much of a moment as tells those on one axis apart."""
    span = (max(moments) - min(moments)) if len(moments) else timedelta()
    if span < timedelta(minutes=20):
        return "%H:%M:%S"
    return "%H:%M" if span < timedelta(days=1) else "%-d %b %H:%M"
