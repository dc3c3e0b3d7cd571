"""Lists of single orders or payments, each linked to its history."""

from collections.abc import Callable, Mapping
from typing import Protocol

import pandas as pd
import streamlit as st

from totes.dashboard.components import tables
from totes.dashboard.filters import Filter
from totes.dashboard.navigation.links import SELECT_A_ROW, row_links
from totes.dashboard.navigation.view import View, in_url
from totes.dashboard.reading import Reading

LIMITS = (100, 1_000, 10_000)
"""How many rows a list may show; the first is the default."""

RANKED_LIMIT = 1000
"""How many members of a dimension are shown; the others are added up."""


class RowQuery(Protocol):
    """A query for single rows."""

    def __call__(self, reading: Reading, criteria: Filter, *, limit: int) -> pd.DataFrame:
        """Return at most `limit` of the rows that match the filter, in order."""
        ...


def rows(  # noqa: PLR0913  the parts of a list
    page: View,
    kind: str,
    title: str,
    query: RowQuery | Mapping[str, RowQuery],
    columns: Mapping[str, str],
    *,
    open_at: bool,
    name: str = "",
) -> None:
    """Show a list of rows, at first or when it is switched on; a selected row has links.

    If there are several queries, the user chooses between them by their labels.
    """
    key = f"rows-{name or kind}"
    st.header(title)
    if not open_at and not st.toggle(
        f"Show {title.lower()}", **in_url(f"{key}-shown", [True], default=False)
    ):
        return
    if isinstance(query, Mapping):
        which = in_url(f"{key}-which", list(query), next(iter(query)))
        query = query[st.radio("Show", list(query), horizontal=True, **which)]
    frame = limited(key, lambda limit: query(page.reading, page.criteria, limit=limit))
    selected = tables.table(
        frame,
        {column: heading.format(page.currency) for column, heading in columns.items()},
        key=key,
        file_name=f"totes-{name or kind}_{page.file_name}",
        alt=f"{title} with their amounts.",
        selectable=True,
    )
    if selected is not None:
        row_links(page.criteria, frame.iloc[selected].to_dict())
    elif not frame.empty:
        st.caption(SELECT_A_ROW)


def limited(key: str, query: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """Return the first rows of a query; if there are more, show a choice of the limit."""
    limit_widget = in_url(f"{key}-limit", LIMITS, LIMITS[0])
    limit = st.session_state[limit_widget["key"]]
    frame = query(limit + 1)
    has_more = len(frame) > limit
    if limit > LIMITS[0] or has_more:
        st.radio("Row limit", LIMITS, format_func="{:,}".format, horizontal=True, **limit_widget)
    if has_more:
        advice = (
            "raise the limit or narrow the filter" if limit < LIMITS[-1] else "narrow the filter"
        )
        st.caption(f"Showing the first {limit:,} rows; for others, {advice}.")
    return frame.head(limit)
