"""Tables of changes."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import streamlit as st

from totes.dashboard.components import tables
from totes.dashboard.components.rows import limited
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import changes
from totes.dashboard.navigation.links import KINDS, SELECT_A_ROW, row_links
from totes.dashboard.navigation.view import View

SILENT = "Silent: the change did not set the column last_updated of totesys."

CHANGE_COLUMNS: Mapping[str, str] = {
    "captured_at": "Captured at",
    "mark": "Silent",
    "type": "Type",
    "key": "Id",
    "column": "Column",
    "before": "Before",
    "after": "After",
    "value_change": "Change in value, {}",
    "counterparty": "Counterparty",
    "staff": "Staff",
}


def heading(column: str) -> str:
    """Return `Agreed delivery date` for `agreed_delivery_date`; `Record` for `row`, a deletion."""
    return "Record" if column == "row" else column.replace("_", " ").capitalize()


def changes_table(  # noqa: PLR0913  the parts of a table
    page: View,
    criteria: Filter,
    selection: changes.Selection,
    *,
    key: str,
    alt: str,
    columns: tuple[str, ...] = tuple(CHANGE_COLUMNS),
    empty: str = "No changes were captured in this period.",
) -> None:
    """Show changed values; a selected one has links to its record, counterparty and staff."""
    rows = limited(key, partial(_rows, page, criteria, selection))
    selected = tables.table(
        rows,
        {column: CHANGE_COLUMNS[column].format(page.currency) for column in columns},
        key=key,
        file_name=f"totes-changes_{criteria.since}_{criteria.until}_{page.currency}",
        alt=alt,
        selectable="key" in columns,  # not on the page of the record
        empty=empty,
    )
    if selected is not None:
        row = rows.iloc[selected].to_dict()
        row_links(page.criteria, row | {f"{row['kind']}_id": row["key"]})
    elif not rows.empty and "key" in columns:
        st.caption(SELECT_A_ROW)


def _rows(page: View, criteria: Filter, selection: changes.Selection, limit: int) -> pd.DataFrame:
    """Return changed values with labels."""
    rows = changes.rows(page.reading, criteria, selection, limit)
    return rows.assign(
        type=[KINDS[kind] for kind in rows["kind"]],
        column=[heading(column) for column in rows["column_name"]],
        mark=["silent" if silent else "" for silent in rows["silent"]],
    )
