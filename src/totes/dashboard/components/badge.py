"""The freshness line of every page, and the automatic reload when there is newer data."""

import logging
import time
from datetime import timedelta
from typing import NamedTuple

import streamlit as st

from totes.dashboard import text
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.metrics import pipeline
from totes.dashboard.metrics.pipeline import PageFreshness
from totes.dashboard.navigation.view import rerun_page
from totes.dashboard.replica import State
from totes.dashboard.server.backends import backends
from totes.errors import TotesError, WarehouseLocked, WarehouseOutdated, WarehouseUnavailable

EVERY = timedelta(seconds=4)
"""Interval at which the warehouse is checked for newer data, which is shown within 10 s."""

WAIT_SECONDS = 2
"""How long a page waits for a refresh of the replica before it shows the previous state."""

RETRYING = "This page retries every few seconds and reloads automatically."

INTERRUPTED = "page-interrupted"
"""Key of the session state: whether the page has already reported that it is incomplete."""

DEADLINE_SECONDS = 30 * 60
"""Time within which a change of totesys must be in the warehouse."""


LOG = logging.getLogger(__name__)


class Problem(NamedTuple):
    """Why the warehouse can't be read, for users: without host, role or database."""

    title: str
    advice: str


def problem(error: TotesError) -> Problem:
    """Return the description of an error for users; the error itself goes into the log."""
    if isinstance(error, WarehouseLocked):
        return Problem(
            "The warehouse is locked",
            "Another session has locked its tables, such as `totes replay`, which takes a few "
            "minutes. `totes status` shows its progress.",
        )
    if isinstance(error, WarehouseUnavailable):
        return Problem(
            "The warehouse can't be reached",
            "No server answers at its address. `totes check` shows the cause; "
            "`TOTES_DASHBOARD_DSN` or `TOTES_DASHBOARD_SECRET` names the warehouse that the "
            "dashboard reads.",
        )
    if isinstance(error, WarehouseOutdated):
        return Problem(
            "The warehouse needs a migration",
            "Its tables are missing or older than this program: run `totes warehouse migrate`.",
        )
    return Problem(
        "The warehouse can't be read",
        "A query failed. `totes check` shows the cause, and the dashboard's log has the "
        "database's message.",
    )


@st.fragment(run_every=EVERY)
def badge(state: State, *, past: bool) -> None:
    """Show how current the data is, when it was checked and when it was verified.

    `state` is that of the page. If the warehouse has newer data, the whole page is drawn again
    with the same filters, except for a page that shows the `past`.
    """
    try:
        backends().replica.refresh_within(WAIT_SECONDS)
        with open_bookkeeping(backends().warehouse) as bookkeeping:
            fresh = pipeline.freshness(bookkeeping)
    except TotesError as error:
        LOG.warning("a page's badge: %s", error)
        if not st.session_state.get(INTERRUPTED):
            reason = problem(error)
            st.error(
                f"**{reason.title}.** The data below is that of batch {state.batch}, as of "
                f"{text.moment(state.captured_at)}. {reason.advice}"
            )
            st.text(RETRYING)
        return
    newest = backends().replica.state or state
    if (newest.batch, newest.captured_at) != (state.batch, state.captured_at) and not past:
        rerun_page()
    line = freshness_text(fresh, newest)
    st.text(f"Now: {line}" if past else line)
    if warning := staleness_warning(fresh):
        st.warning(warning, icon=":material/schedule:")


def reload_when_available() -> None:
    """Draw the page again once the warehouse answers, but not immediately."""
    _reload_when_available(time.monotonic())


@st.fragment(run_every=EVERY)
def _reload_when_available(since: float) -> None:
    if time.monotonic() - since > EVERY.total_seconds() / 2:  # not while the page is being drawn
        try:
            is_current = backends().replica.refresh_within(WAIT_SECONDS)
        except TotesError:
            is_current = False
        state = backends().replica.state
        if is_current and state and state.captured_at:
            rerun_page()
    st.text(copy_progress() or RETRYING)


def copy_progress() -> str:
    """Return the progress of the first copy of the warehouse; empty if it is not running."""
    copied = backends().replica.copied
    if backends().replica.state or not copied.rows:
        return ""
    total = f" of about {copied.total:,}" if copied.total > copied.rows else ""
    return f"Copied {copied.rows:,}{total} rows of the warehouse."


def freshness_text(fresh: PageFreshness, state: State) -> str:
    """Return such as `Data as of 14:02 UTC, batch 12. Up to date: totesys checked 6 s ago. …`."""
    if state.captured_at is None:
        return "No data yet"
    parts = [f"Data as of {text.clock(state.captured_at, fresh.now)}, batch {state.batch}"]
    lag = fresh.lag_seconds
    if fresh.ahead:
        parts.append("Age unknown: totesys was checked in the future, a clock is or was wrong")
    elif lag is None:
        parts.append("totesys not checked yet")
    else:
        verdict = "Up to date" if lag <= DEADLINE_SECONDS else "Out of date"
        parts.append(f"{verdict}: totesys checked {text.ago(lag)}")
    if fresh.verified is None:
        parts.append("Not verified yet")
    else:
        result = "equal to" if fresh.verified.equal else "different from"
        when = text.clock(fresh.verified.verified_at, fresh.now)
        parts.append(f"Verified at {when}: {result} totesys")
    if fresh.quarantined:
        parts.append(f"{text.count(fresh.quarantined, 'row')} in quarantine")
    return ". ".join(parts) + "."


def staleness_warning(fresh: PageFreshness) -> str | None:
    """Return what to do if the data may be older than the deadline; None if it is not."""
    lag = fresh.lag_seconds
    if lag is None or lag <= DEADLINE_SECONDS:
        return None
    return (
        f"Out of date: totesys was last checked at {text.moment(fresh.checked_at)}, and later "
        "changes are missing. Is `totes run` running? `totes status` shows the state of each stage."
    )
