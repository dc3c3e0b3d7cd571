"""What a page is drawn from: one snapshot of the warehouse and the filter; URLs that keep it."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import Choices, Filter, ignored, quoted
from totes.dashboard.reading import Reading
from totes.dashboard.server.sign_in import is_operator

type Query = dict[str, str | list[str]]

FILTERS = frozenset(
    {
        "period",
        "from",
        "to",
        "currency",
        "country",
        "department",
        "counterparty",
        "as_of",
        "in",
        "compare",
    }
)
"""Names in the URL's query that are parts of the filter; others belong to a page."""

PAGES = {
    "overview": "Overview",
    "sales": "Sales",
    "purchases": "Purchases",
    "payments": "Payments",
    "changes": "Changes",
    "history": "Records",
    "explore": "Explore",
    "report": "Report",
    "alerts": "Alerts",
    "pipeline": "Pipeline",
    "dictionary": "Data dictionary",
}
"""Titles of the pages by the name of their file, in the order of the navigation."""

OPERATOR_PAGES = frozenset({"pipeline"})
"""Pages about the operation, such as rejected values, which viewers do not see."""

LINKED_PAGES = {"counterparty": "Counterparty", "staff": "Staff"}
"""Titles of the pages that other pages link to, and that are not in the navigation."""


@dataclass(frozen=True)
class View:
    """One page for one filter; all of its data comes from the snapshot of `reading`."""

    reading: Reading
    criteria: Filter
    choices: Choices
    dark: bool

    @property
    def currency(self) -> str:
        """The reporting currency."""
        return self.criteria.reporting

    @property
    def today(self) -> str:
        """`today`, or on a page of the past its day."""
        return text.day(self.choices.today) if self.criteria.as_of else "today"

    @property
    def file_name(self) -> str:
        """The part of a download's name that shows its period and currency."""
        return f"{self.criteria.since}_{self.criteria.until}_{self.currency}"


_WIDGETS = "widgets"

_current: ContextVar[View] = ContextVar("view")


def view() -> View:
    """Return the view of the page that is being drawn."""
    return _current.get()


@contextmanager
def use_view(current: View) -> Iterator[None]:
    """Make `current` the view of the page that is drawn within the context."""
    token = _current.set(current)
    try:
        yield
    finally:
        _current.reset(token)


_QUERY = "query"
"""Key of the session state: the query that the page was last drawn for, or is going to."""


def url_query() -> Query:
    """Return the query of this page's URL."""
    values = {name: st.query_params.get_all(name) for name in st.query_params}
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


def begin_page() -> Query:
    """Return the URL's query, and remember it as the one that the page is drawn for."""
    query = st.session_state[_QUERY] = url_query()
    return query


def page_query() -> Query:
    """Return the query that the page was drawn for, or is going to.

    The URL alone may be outdated: a browser's message may precede its last change.
    """
    query: Query = st.session_state.get(_QUERY, url_query())
    return query


def rerun_page() -> NoReturn:
    """Draw the whole page again for its query, from within a fragment."""
    if url_query() != page_query():
        st.query_params.from_dict(page_query())
    st.rerun()


def go(criteria: Filter, **parameters: str) -> None:
    """Show the same page with another filter, and with other parameters of the page."""
    of_page = {name: value for name, value in page_query().items() if name not in FILTERS}
    _set_query(of_page | parameters | criteria.to_query())


def go_to(**parameters: str | list[str]) -> None:
    """Show the same page with other parameters."""
    _set_query(page_query() | parameters)


def _set_query(query: Query) -> None:
    st.session_state[_QUERY] = query
    st.query_params.from_dict(query)


def widget_key(name: str, value: object) -> str:
    """Return the key of the widget `name`, which shows a value of the URL.

    Each new value gets a new widget. With one widget, the value that the browser still sends for
    the previous one would look like a change by the user: each run of a fragment sends the values
    of all widgets.
    """
    widgets = st.session_state.setdefault(_WIDGETS, {})
    shown, number = widgets.get(name, (None, -1))
    if number < 0 or shown != value:
        number += 1
    widgets[name] = (value, number)
    key = f"{name}-{number}"
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def changed_value(name: str, key: str) -> tuple[bool, Any]:
    """Return whether the user changed the widget `name`, and its value."""
    widgets, value = st.session_state[_WIDGETS], st.session_state[key]
    shown, number = widgets[name]
    if key != f"{name}-{number}" or value == shown:
        return False, value
    widgets[name] = (value, number)
    return True, value


def in_url(
    name: str, options: Sequence[object], default: object, also: Collection[object] = ()
) -> dict[str, Any]:
    """Return `key` and `on_change` of a widget whose value is the parameter `name` of the URL.

    The default is not written to the URL; for a value that is not an option, show a notice, unless
    it is an option for another filter (`also`).
    """
    written = page_query().get(name)
    value = next((one for one in options if str(one) == written), default)
    if written and str(value) != written and written not in also:
        st.text(ignored(name, f"{quoted(str(written))} does not exist"))
    key = widget_key(name, value)

    def on_change() -> None:
        changed, chosen = changed_value(name, key)
        if not changed:
            return
        query = {one: of for one, of in page_query().items() if one != name}
        if chosen != default:
            query[name] = str(chosen)
        _set_query(query)

    return {"key": key, "on_change": on_change}


def link(
    page: str, label: str, criteria: Filter, icon: str | None = None, **parameters: str
) -> None:
    """Show a link to a page that keeps the filter."""
    link_to(page, label, {**criteria.to_query(), **parameters}, icon)


def link_to(page: str, label: str, query: Query, icon: str | None = None) -> None:
    """Show a link to a page with a query; nothing if the user may not see the page."""
    if page in OPERATOR_PAGES and not is_operator():
        return
    st.page_link(f"{page}.py", label=label, icon=icon, query_params=query)
