"""What a page works with: one reading of the warehouse, the filter, links that keep it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

import streamlit as st

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
    def file_name(self) -> str:
        """What tells a download of this view from one of another."""
        return f"{self.chosen.since}_{self.chosen.until}_{self.currency}"


_current: ContextVar[View] = ContextVar("view")


def view() -> View:
    """The view of the page that is being drawn."""
    return _current.get()


@contextmanager
def showing(what: View) -> Iterator[None]:
    token = _current.set(what)
    try:
        yield
    finally:
        _current.reset(token)


def asked() -> Query:
    """The query of this page's URL."""
    values = {name: st.query_params.get_all(name) for name in st.query_params}
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def of_the_page() -> Query:
    """What of it is the page's own."""
    return {name: value for name, value in asked().items() if name not in FILTERS}


def go(chosen: Filter, **own: str) -> None:
    """Show the same page with another filter, and `own` values of the page: in the URL."""
    st.query_params.from_dict(of_the_page() | own | chosen.to_query())


def link(page: str, label: str, chosen: Filter, icon: str | None = None, **own: str) -> None:
    """A link to a page that keeps the filter."""
    query = chosen.to_query() | own
    st.page_link(f"{page}.py", label=label, icon=icon, query_params=query)
