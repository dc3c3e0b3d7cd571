"""How fresh the page is, on every page, and what brings it up to date by itself."""

import logging
import time
from datetime import datetime, timedelta
from typing import NamedTuple

import streamlit as st

from totes.dashboard import text
from totes.dashboard.metrics import pipeline
from totes.dashboard.metrics.pipeline import Freshness
from totes.dashboard.reading import open_reading
from totes.dashboard.served import served
from totes.dashboard.view import draw_again
from totes.errors import TotesError, WarehouseAway, WarehouseLocked, WarehouseOutdated

EVERY = timedelta(seconds=4)
"""How often the warehouse is asked for something newer: within 10 s of landing it is shown."""

LOOKING = "This page looks every few seconds, and goes on by itself."

TOLD = "trouble-told"
"""Whether the session's page has broken off, and says so itself."""

DEADLINE_SECONDS = 30 * 60
"""By when a change of totesys must be here."""


LOG = logging.getLogger(__name__)


class Trouble(NamedTuple):
    """What keeps the warehouse from answering, in words that tell nothing of where it is."""

    title: str
    what: str


def trouble(error: TotesError) -> Trouble:
    """The error itself goes into the log: it names host, role and database."""
    if isinstance(error, WarehouseLocked):
        return Trouble(
            "The warehouse is locked just now",
            "It is being rebuilt, or its tables are held by somebody's session. A rebuild takes "
            "a few minutes; `totes status` says how far it is.",
        )
    if isinstance(error, WarehouseAway):
        return Trouble(
            "The warehouse can't be reached",
            "Nobody answers where it should be. `totes check` says what is wrong; "
            "`TOTES_DASHBOARD_DSN` names the warehouse that these pages read.",
        )
    if isinstance(error, WarehouseOutdated):
        return Trouble(
            "The warehouse is of another version",
            "It has not had all migrations: run `totes warehouse migrate`.",
        )
    return Trouble(
        "The warehouse can't be read",
        "It refuses, or is not as this program knows it. `totes check` says what is wrong, and "
        "the dashboard's log has the words of the database.",
    )


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
        LOG.warning("a page's badge: %s", error)
        if not st.session_state.get(TOLD):
            found = trouble(error)
            st.error(f"**{found.title}.** What is shown below is from before. {found.what}")
            st.text(LOOKING)
        return
    if fresh.data_to != drawn and not past:
        draw_again()
    st.text(f"Now: {told(fresh)}" if past else told(fresh))
    if warning := stale(fresh):
        st.warning(warning, icon=":material/schedule:")


def until_back() -> None:
    """Draws the page again, not at once, when the warehouse answers."""
    _until_back(time.monotonic())


@st.fragment(run_every=EVERY)
def _until_back(since: float) -> None:
    if time.monotonic() - since > EVERY.total_seconds() / 2:  # not while the page is being drawn
        try:
            with open_reading(served().warehouse) as reading:
                known = pipeline.freshness(reading).data_to is not None
        except TotesError:
            known = False
        if known:
            draw_again()
    st.text(LOOKING)


def told(fresh: Freshness) -> str:
    """`data to 14:02 UTC, checked 6 s ago, verified 13:55 UTC`."""
    if fresh.data_to is None:
        return "no data yet"
    parts = [f"Data to {text.clock(fresh.data_to, fresh.now)}"]
    lag = fresh.lag_seconds
    parts.append("not checked since" if lag is None else f"checked {text.ago(lag)}")
    if fresh.verified_at is None:
        parts.append("never verified")
    elif fresh.verified_equal:
        parts.append(f"verified {text.clock(fresh.verified_at, fresh.now)}")
    else:
        parts.append(f"found to differ at {text.clock(fresh.verified_at, fresh.now)}")
    return ", ".join(parts)


def stale(fresh: Freshness) -> str | None:
    """What to do where the data may be older than the deadline; None where it isn't."""
    lag = fresh.lag_seconds
    if lag is None or lag <= DEADLINE_SECONDS:
        return None
    return (
        f"Nobody has looked at totesys since {text.moment(fresh.checked_at)}: what happened after "
        "that is missing here. Is `totes run` running? `totes status` says how far each stage is."
    )
