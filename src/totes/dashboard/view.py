"""What a page works with: one reading of the warehouse, the filter, links that keep it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import Choices, Filter
from totes.dashboard.reading import Reading

type Query = dict[str, str | list[str]]

FILTERS = frozenset(
    {"period", "from", "to", "currency", "country", "department", "counterparty", "as_of", "in"}
)
"""The names in a URL that a filter is made of; others are a page's own."""

PAGES: Mapping[str, str] = {
    "overview": "Overview",
    "sales": "Sales",
    "purchases": "Purchases",
    "payments": "Payments",
    "history": "History",
    "pipeline": "Pipeline",
    "dictionary": "Data dictionary",
}
"""Each page by the name of its file, in their order."""


@dataclass(frozen=True)
class View:
    """One page for one filter: everything it shows is of the one moment that `reading` is of."""

    reading: Reading
    chosen: Filter
    choices: Choices
    data_to: datetime | None
    dark: bool

    @property
    def currency(self) -> str:
        """The one that all sums are in."""
        return self.chosen.reporting

    @property
    def today(self) -> str:
        """The day that debts and deliveries are of, as words: a page of the past names it."""
        return text.day(self.choices.today) if self.chosen.as_of else "today"

    @property
    def file_name(self) -> str:
        """What tells a download of this view from one of another."""
        return f"{self.chosen.since}_{self.chosen.until}_{self.currency}"


_SLOTS = "slots"

_current: ContextVar[View] = ContextVar("view")


def view() -> View:
    """The view of the page that is being drawn."""
    return _current.get()


@contextmanager
def showing(what: View) -> Iterator[None]:
    """Make `what` the current view while a page is drawn."""
    token = _current.set(what)
    try:
        yield
    finally:
        _current.reset(token)


_ADDRESS = "address"
"""Where the session keeps the query that its page was last drawn for, or was told to go to."""


def asked() -> Query:
    """The query of this page's URL."""
    values = {name: st.query_params.get_all(name) for name in st.query_params}
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def arrived() -> Query:
    """The query that the page is now drawn for."""
    query = st.session_state[_ADDRESS] = asked()
    return query


def address() -> Query:
    """Where the page is, or is about to go.

    A message of the browser may be of a moment when it hadn't yet heard of the last change.
    """
    query: Query = st.session_state.get(_ADDRESS, asked())
    return query


def draw_again() -> NoReturn:
    """The whole page anew, from within a part of it: at its address."""
    if asked() != address():
        st.query_params.from_dict(address())
    st.rerun()


def go(chosen: Filter, **own: str) -> None:
    """Show the same page with another filter, and `own` values of the page: in the URL."""
    of_the_page = {name: value for name, value in address().items() if name not in FILTERS}
    st.session_state[_ADDRESS] = query = of_the_page | own | chosen.to_query()
    st.query_params.from_dict(query)


def slot(name: str, value: object) -> str:
    """The key of a widget that is to show a value which the URL tells.

    Whenever that becomes another than what the widget shows, there is a new widget for it. With
    one widget for all of them, what the browser still says of the value before would look like
    somebody's choice: every tick of the badge brings all widgets' values along.
    """
    slots = st.session_state.setdefault(_SLOTS, {})
    shown, number = slots.get(name, (None, -1))
    if number < 0 or shown != value:
        number += 1
    slots[name] = (value, number)
    key = f"{name}-{number}"
    if key not in st.session_state:
        st.session_state[key] = value
    return key


def choice(name: str, key: str) -> tuple[bool, Any]:
    """Whether somebody chose another value in the widget of a slot, and the value."""
    slots, value = st.session_state[_SLOTS], st.session_state[key]
    shown, number = slots[name]
    if key != f"{name}-{number}" or value == shown:
        return False, value
    slots[name] = (value, number)
    return True, value


def link(page: str, label: str, chosen: Filter, icon: str | None = None, **own: str) -> None:
    """A link to a page that keeps the filter."""
    link_to(page, label, {**chosen.to_query(), **own}, icon)


def link_to(page: str, label: str, query: Query, icon: str | None = None) -> None:
    """A link to a page with a query."""
    st.page_link(f"{page}.py", label=label, icon=icon, query_params=query)
