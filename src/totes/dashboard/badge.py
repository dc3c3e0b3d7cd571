"""How fresh the page is, on every page, and what brings it up to date by itself."""

from datetime import datetime, timedelta

import streamlit as st

from totes.dashboard import text
from totes.dashboard.metrics import pipeline
from totes.dashboard.metrics.pipeline import Freshness
from totes.dashboard.reading import open_reading
from totes.dashboard.served import served
from totes.dashboard.view import draw_again
from totes.errors import TotesError

EVERY = timedelta(seconds=4)
"""How often the warehouse is asked for something newer: within 10 s of landing it is shown."""

DEADLINE_SECONDS = 30 * 60
"""By when a change of totesys must be here."""


@st.fragment(run_every=EVERY)
def badge(drawn: datetime | None, *, past: bool) -> None:
    """Up to when the data is, when that was checked, when it was proven.

    `drawn` is what the page around it shows. Where there is something newer, the whole page is
    drawn again with its filters and choices; one that shows the `past` stays as it is.
    """
    try:
        with open_reading(served().warehouse) as reading:
            fresh = pipeline.freshness(reading)
    except TotesError as error:
        st.error("The warehouse does not answer; what is shown below is from before.")
        st.text(text.plain(error))
        return
    if fresh.data_to != drawn and not past:
        draw_again()
    st.text(told(fresh))
    if warning := stale(fresh):
        st.warning(warning, icon=":material/schedule:")


@st.fragment(run_every=EVERY)
def until_back() -> None:
    """Draws the page as soon as the warehouse answers."""
    try:
        with open_reading(served().warehouse) as reading:
            known = pipeline.freshness(reading).data_to is not None
    except TotesError:
        known = False
    if known:
        draw_again()
    st.text("This page looks every few seconds, and goes on by itself.")


def told(fresh: Freshness) -> str:
    """`data to 14:02 UTC, checked 6 s ago, verified 13:55 UTC`."""
    if fresh.data_to is None:
        return "no data yet"
    parts = [f"Data to {text.clock(fresh.data_to, fresh.now)}"]
    if fresh.checked_at is not None:
        parts.append(f"checked {text.ago((fresh.now - fresh.checked_at).total_seconds())}")
    else:
        parts.append("not checked since")
    if fresh.verified_at is None:
        parts.append("never verified")
    elif fresh.verified_equal:
        parts.append(f"verified {text.clock(fresh.verified_at, fresh.now)}")
    else:
        parts.append(f"found to differ at {text.clock(fresh.verified_at, fresh.now)}")
    return ", ".join(parts)


def stale(fresh: Freshness) -> str | None:
    """What to do where the data may be older than the deadline; None where it isn't."""
    if fresh.checked_at is None:
        return None
    seconds = (fresh.now - fresh.checked_at).total_seconds()
    if seconds <= DEADLINE_SECONDS:
        return None
    return (
        f"Nobody has looked at totesys since {text.moment(fresh.checked_at)}: what happened after "
        "that is missing here. Is `totes run` running? `totes status` says how far each stage is."
    )
