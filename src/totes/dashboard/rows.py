"""The single orders or payments behind the numbers, each with a way to its history."""

from collections.abc import Mapping
from typing import Protocol

import pandas as pd
import streamlit as st

from totes.dashboard import tables
from totes.dashboard.filters import Filter
from totes.dashboard.reading import Reading
from totes.dashboard.view import View, link

MOST = 1000

KEYS: Mapping[str, str] = {
    "sales_order": "sales_order_id",
    "purchase_order": "purchase_order_id",
    "payment": "payment_id",
}


class Ask(Protocol):
    def __call__(self, reading: Reading, chosen: Filter, *, limit: int) -> pd.DataFrame: ...


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
    """At most a thousand, once they are wanted; one that is chosen leads to its history.

    With several ways to `ask` there is a choice between them.
    """
    key = f"rows-{name or kind}"
    st.subheader(title)
    if not open_at and not st.toggle(f"Show the {title.lower()} themselves", key=f"{key}-shown"):
        return
    if isinstance(ask, Mapping):
        ask = ask[st.radio("Which of them", list(ask), horizontal=True, key=f"{key}-which")]
    found = ask(page.reading, page.chosen, limit=MOST)
    told_if_cut(found)
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


def told_if_cut(found: pd.DataFrame) -> None:
    """That there may be more than these."""
    if len(found) == MOST:
        st.caption(f"The first {MOST:,}; narrow the filter to see others.")
