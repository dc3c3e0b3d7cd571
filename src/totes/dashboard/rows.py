"""The single orders or payments behind the numbers, each with a way to its history."""

from collections.abc import Callable, Mapping
from typing import Protocol

import pandas as pd
import streamlit as st

from totes.dashboard import tables
from totes.dashboard.filters import Filter
from totes.dashboard.reading import Reading
from totes.dashboard.view import View, link

MOST = (100, 1_000, 10_000)
"""How many rows one may ask for; the first is what is shown at once."""

MOST_RANKED = 1000
"""Of more items than that the dearest are shown, and the rest as one."""

KEYS: Mapping[str, str] = {
    "sales_order": "sales_order_id",
    "purchase_order": "purchase_order_id",
    "payment": "payment_id",
}


class Ask(Protocol):
    """A query for single rows."""

    def __call__(self, reading: Reading, chosen: Filter, *, limit: int) -> pd.DataFrame:
        """At most `limit` of the chosen rows, in the order in which they are shown."""
        ...


def rows(  # noqa: PLR0913  what a list of rows is made of
    page: View,
    kind: str,
    title: str,
    ask: Ask | Mapping[str, Ask],
    columns: Mapping[str, str],
    *,
    open_at: bool,
    name: str = "",
) -> None:
    """The first of them, once they are wanted; one that is chosen leads to its history.

    With several ways to `ask` there is a choice between them.
    """
    key = f"rows-{name or kind}"
    st.subheader(title)
    if not open_at and not st.toggle(f"Show the {title.lower()} themselves", key=f"{key}-shown"):
        return
    if isinstance(ask, Mapping):
        ask = ask[st.radio("Which of them", list(ask), horizontal=True, key=f"{key}-which")]
    found = first(key, lambda limit: ask(page.reading, page.chosen, limit=limit))
    picked = tables.table(
        found,
        {column: heading.format(page.currency) for column, heading in columns.items()},
        key=key,
        file_name=f"totes-{name or kind}_{page.file_name}",
        alt=f"{title}, one a row, with what they are worth.",
        selectable=True,
        missing="-",
    )
    if picked is not None:
        number = str(found[KEYS[kind]].iloc[picked])
        link(
            "history",
            f"How {kind.replace('_', ' ')} {number} came to be",
            page.chosen,
            ":material/history:",
            kind=kind,
            key=number,
        )
    elif not found.empty:
        st.caption("Choose a row to see its history.")


def first(key: str, ask: Callable[[int], pd.DataFrame]) -> pd.DataFrame:
    """As many rows as one chooses; where there are only a few, there is nothing to choose."""
    choice = f"{key}-most"
    limit = st.session_state.get(choice, MOST[0])
    found = ask(limit + 1)
    more = len(found) > limit
    if limit > MOST[0] or more:
        st.radio("Rows at most", MOST, format_func="{:,}".format, horizontal=True, key=choice)
    if more:
        others = "ask for more, or narrow the filter" if limit < MOST[-1] else "narrow the filter"
        st.caption(f"The first {limit:,}; to see others, {others}.")
    return found.head(limit)
