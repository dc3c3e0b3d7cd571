"""The main script, which Streamlit runs for each visit and interaction.

It reads the filter from the URL, refreshes the replica of the warehouse, and draws the page from
both. If the warehouse can't be read, the page shows the replica's last state; if there is none, it
shows the reason and what to do.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from totes.dashboard import metrics, text
from totes.dashboard.components.badge import (
    INTERRUPTED,
    LOG,
    WAIT_SECONDS,
    Problem,
    badge,
    problem,
    reload_when_available,
)
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.navigation import click_filters
from totes.dashboard.navigation.controls import controls, navigation
from totes.dashboard.navigation.view import (
    FILTERS,
    LINKED_PAGES,
    OPERATOR_PAGES,
    PAGES,
    Query,
    View,
    begin_page,
    go,
    url_query,
    use_view,
)
from totes.dashboard.preferences import preferences
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.replica import Replica
from totes.dashboard.server import sign_in
from totes.dashboard.server.backends import backends
from totes.errors import TotesError

ICON = Path(__file__).parent.with_name("bag.svg")

STYLE = Path(__file__).with_name("style.css")

FIRST = "overview"

# Key of the session state: what to search for.
SEARCH = "search-all"

# Pages without filters.
UNFILTERED_PAGES = {"alerts", "history", "pipeline", "dictionary"}

# Pages without a comparison with another period.
UNCOMPARED_PAGES = {"changes", "explore"}


def main() -> None:
    """Run the page of the URL; Streamlit calls it for each interaction."""
    pages = [
        st.Page(
            f"{name}.py",
            title=title,
            url_path="" if name == FIRST else name,
            default=name == FIRST,
        )
        for name, title in (PAGES | LINKED_PAGES).items()
    ]
    by_name = st.Page(_go_to_first, title=PAGES[FIRST], url_path=FIRST)  # redirects to the root
    page = st.navigation([*pages, by_name], position="hidden")
    st.set_page_config(
        page_title=f"{page.title} · {preferences().company}",
        page_icon=str(preferences().logo or ICON),
        layout="wide",
    )
    st.html(STYLE)
    if not sign_in.admit_user():
        return
    if page.url_path == FIRST:
        page.run()
    query = begin_page()
    above = st.container()  # filled if drawing the page fails
    st.session_state[INTERRUPTED] = False
    has_sidebar = False
    replica = backends().replica
    try:
        _refresh(replica)
        if replica.state is None:
            _first_copy()
            return
        with open_reading(replica) as reading:
            if reading.state.captured_at is None:
                _empty()
                return
            current, notices = _prepare(page, reading, query)
            has_sidebar = True
            _draw(page, current, notices)
    except TotesError as error:
        LOG.warning("a page: %s", error)
        if has_sidebar:
            _interrupted(problem(error), above)
            return
        _sidebar({name: value for name, value in query.items() if name in FILTERS})
        _unreachable(problem(error))


def _refresh(replica: Replica) -> None:
    """Refresh the replica; an error is raised only if it has no state to show."""
    try:
        replica.refresh_within(WAIT_SECONDS)
    except TotesError as error:
        if replica.state is None:
            raise
        LOG.warning("a page shows the replica's last state: %s", error)


def _go_to_first() -> None:
    st.switch_page(f"{FIRST}.py", query_params=url_query())


def _prepare(page: st.Page, reading: Reading, query: Query) -> tuple[View, tuple[str, ...]]:
    """Draw the sidebar; return the view, and a notice for each ignored value of the URL."""
    choices = metrics.choices(reading)
    criteria, notices = Filter.from_query(query, choices)
    if criteria.as_of is not None:
        choices = metrics.choices(reading, criteria.as_of)  # periods end at that moment
        criteria, notices = Filter.from_query(query, choices)
    name = _name(page)
    filters = partial(controls, criteria, choices, has_comparison=name not in UNCOMPARED_PAGES)
    _sidebar(criteria.to_query(), None if name in UNFILTERED_PAGES else filters)
    dark = st.context.theme.type == "dark"
    return View(reading, criteria, choices, dark), notices


def _sidebar(query: Query, filters: Callable[[], None] | None = None) -> None:
    """Draw the sidebar, unless the page is embedded in another site."""
    if st.context.is_embedded:
        return
    if preferences().logo:
        st.logo(str(preferences().logo), size="large")
    with st.sidebar:
        st.text(preferences().company)
        navigation(query)
        _search(query)
        if filters:
            st.divider()
            filters()
        sign_in.show_user()


def _search(query: Query) -> None:
    """Show a search field, which leads to the page Records."""

    def on_change() -> None:
        st.session_state[SEARCH] = st.session_state[f"{SEARCH}-field"]
        st.session_state[f"{SEARCH}-field"] = ""

    st.text_input(
        "Find a record",
        key=f"{SEARCH}-field",
        on_change=on_change,
        max_chars=100,
        placeholder="Id or name",
        icon=":material/search:",
    )
    if what := st.session_state.pop(SEARCH, ""):
        st.switch_page("history.py", query_params={**query, "q": what})


def _draw(page: st.Page, current: View, notices: tuple[str, ...]) -> None:
    criteria, name = current.criteria, _name(page)
    if name in OPERATOR_PAGES and not sign_in.is_operator():
        sign_in.refuse_viewer(page.title)
        return
    with st.container(key="freshness"):
        badge(current.reading.state, past=criteria.as_of is not None)
    for notice in notices:
        st.text(notice)
    if criteria.as_of is not None and not _as_of(criteria, current.choices, page, name):
        return
    if name not in UNFILTERED_PAGES:
        click_filters.filter_banner(current)
    with use_view(current):
        page.run()


def _name(page: st.Page) -> str:
    return page.url_path or FIRST


def _as_of(criteria: Filter, choices: Choices, page: st.Page, name: str) -> bool:
    """Show a note that this is the past; return whether there is data to show."""
    begins = choices.history_begins
    has_history = begins is None or (criteria.as_of is not None and criteria.as_of >= begins)
    moment = text.moment(criteria.as_of)
    if name in UNFILTERED_PAGES:
        st.info(
            f"{page.title} always shows current data; the time machine ({moment}) does not apply.",
            icon=":material/update:",
        )
    elif has_history:
        st.info(
            f"Data and exchange rates as of {moment}. Names of customers, designs and staff are "
            f"current. History begins at {text.moment(begins)} (first capture).",
            icon=":material/history:",
        )
    else:
        st.title(page.title)
        st.warning(
            f"No data as of {moment}: history begins at {text.moment(begins)} (first capture).",
            icon=":material/history:",
        )
    st.button(
        "Show current data",
        icon=":material/update:",
        on_click=go,
        args=[replace(criteria, as_of=None)],
    )
    return has_history or name in UNFILTERED_PAGES


def _first_copy() -> None:
    st.title("Copying the warehouse")
    st.markdown(
        "The dashboard copies the warehouse once into a file of its own; after that it reads only "
        "changes. This page opens when the copy is complete."
    )
    reload_when_available()


def _empty() -> None:
    st.title("No data yet")
    st.markdown(
        "Nothing has been loaded into the warehouse. Run `totes run --once` to load it; "
        "`totes check` shows what is missing."
    )
    reload_when_available()


NO_DATA_LOST = "No data is lost: the pipeline catches up once the warehouse is available."


def _unreachable(reason: Problem) -> None:
    st.title(reason.title)
    st.markdown(reason.advice)
    st.markdown(NO_DATA_LOST)
    reload_when_available()


def _interrupted(reason: Problem, above: DeltaGenerator) -> None:
    """Keep what has been drawn, and show above and below it that the page is incomplete."""
    st.session_state[INTERRUPTED] = True
    with above:
        st.error(
            f"**{reason.title}.** This page is incomplete; the numbers that it shows are correct. "
            f"{reason.advice} {NO_DATA_LOST}"
        )
        reload_when_available()
    st.error(f"The rest of this page is missing. {reason.title}.")


main()
