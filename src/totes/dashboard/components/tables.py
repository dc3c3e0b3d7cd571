"""Tables, and downloads of exactly the rows that they show."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from html import escape
from io import BytesIO
from typing import Any

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.components.spreadsheet import csv
from totes.dashboard.navigation.view import in_url

HIDDEN_IF_ZERO = "unconverted"
"""A column that is hidden if all of its values are zero."""

_IS_ID = re.compile(r"(\w+_)?id|key|batch")
"""Columns of identifiers, which are shown without thousands separators."""

ROW_PIXELS = 35
VISIBLE_ROWS, MOST_VISIBLE_ROWS = 20, 400
"""How many rows are visible without scrolling in the table: at first, and on request."""

WIDE = 3
"""From so many columns on, phones show a hint to swipe (see pages/style.css)."""

MEASURED_ROWS, LETTER_PIXELS, CELL_PIXELS, MAX_PIXELS = 10, 6, 20, 260
"""The browser fits a column to its first rows; longer texts after them need a set width."""

AMOUNT_DECIMALS, MAX_DECIMALS = 2, 15

RIGHT = "\u061c"
"""An invisible mark of right-to-left text: a heading that begins with it is right-aligned.

Streamlit aligns cells only; the words of the heading remain left-to-right.
"""

type Frame = pd.DataFrame

type Columns = Mapping[str, str]
"""Headings by column name; other columns are not shown."""


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a Parquet file; decimals and dates keep their types."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def table(  # noqa: PLR0913  the parts of a table
    frame: pd.DataFrame,
    columns: Columns,
    *,
    key: str,
    file_name: str,
    alt: str,
    selectable: bool = False,
    empty: str = "No data in this period.",
    full_height: bool = False,
    all_decimals: bool = False,
) -> int | None:
    """Show columns with their headings, and buttons for a CSV and a Parquet file of the rows.

    Decimals are amounts with two decimals, or have `all_decimals`. Return the position of the
    selected row, if the table is `selectable` and has one.
    """
    if frame.empty:
        st.text(empty)
        return None
    columns = {
        name: heading
        for name, heading in columns.items()
        if name in frame.columns or not name.endswith(charts.BEFORE)
    }
    if HIDDEN_IF_ZERO in columns and not frame[HIDDEN_IF_ZERO].any():
        columns = {name: heading for name, heading in columns.items() if name != HIDDEN_IF_ZERO}
    exact = frame[list(columns)]
    if len(frame) <= VISIBLE_ROWS and not selectable:
        st.html(html_table(exact, columns, alt, all_decimals=all_decimals))
        _below(exact, columns, key=key, file_name=file_name, visible=VISIBLE_ROWS)
        return None
    shown = pd.DataFrame({name: readable(exact[name]) for name in columns})
    options: dict[str, Any] = {}
    if selectable:
        options = {"on_select": "rerun", "selection_mode": "single-row"}
    rows = len(shown) if full_height else VISIBLE_ROWS
    if len(shown) > rows and st.toggle(
        f"Show {len(shown):,} rows without scrolling", **in_url(f"{key}-all", [True], default=False)
    ):
        rows = MOST_VISIBLE_ROWS
    headed = {
        name: column(exact[name], heading, all_decimals=all_decimals)
        for name, heading in columns.items()
    }
    with st.container(key=f"{'wide' if len(columns) >= WIDE else 'narrow'}-{key}"):
        state = st.dataframe(
            shown,
            hide_index=True,
            height=(min(len(shown), rows) + 1) * ROW_PIXELS + 3,
            key=key,
            alt=alt,
            placeholder="-",
            column_config=headed,
            **options,
        )
    _below(exact, columns, key=key, file_name=file_name, visible=rows)
    selected = state["selection"]["rows"] if selectable else []
    return selected[0] if selected and selected[0] < len(frame) else None


def html_table(
    frame: pd.DataFrame, columns: Columns, alt: str, *, all_decimals: bool = False
) -> str:
    """Return a small table as HTML, which prints whole and which screen readers read."""
    kinds = {name: _alignment(frame[name]) for name in columns}
    head = "".join(
        f'<th scope="col" class="{kinds[name]}" data-column="{escape(name)}">{escape(heading)}</th>'
        for name, heading in columns.items()
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kinds[name]}">{escape(_words(value, name, all_decimals))}</td>'
            for name, value in zip(columns, row, strict=True)
        )
        + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    return (
        f'<div class="totes-table" tabindex="0"><table><caption>{escape(alt)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _alignment(values: "pd.Series[Any]") -> str:
    is_number = pd.api.types.is_numeric_dtype(values) or _is_decimal(values)
    return "number" if is_number and not pd.api.types.is_bool_dtype(values) else "words"


def _words(value: object, name: str, all_decimals: bool) -> str:  # noqa: FBT001  as of `table`
    """Return a value as the grid of a large table shows it."""
    if text.is_missing(value):
        return "-"
    match value:
        case bool():
            return "yes" if value else "no"
        case Decimal() if all_decimals:
            return f"{value:,f}"
        case Decimal():
            return f"{value:.6f}" if name == "rate" else f"{value:,.2f}"
        case int() | float():
            return str(value) if _IS_ID.fullmatch(name) else f"{value:,}"
    return str(_cell(value))


def _below(
    exact: pd.DataFrame, columns: Columns, *, key: str, file_name: str, visible: int
) -> None:
    """Show the number of rows and the downloads."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"below-{key}"):
        st.caption(count_of_rows(len(exact), visible), width="content")
        downloads(exact.rename(columns=dict(columns)), key=key, file_name=file_name)


def downloads(frame: pd.DataFrame, *, key: str, file_name: str) -> None:
    """Show buttons for a CSV and a Parquet file of a frame, which are made on a click.

    They are the only downloads: style.css hides the toolbar's CSV, which may have formulas.
    """
    for kind, mime, make in (
        ("CSV", "text/csv", csv),
        ("Parquet", "application/vnd.apache.parquet", parquet),
    ):
        st.download_button(
            kind,
            data=partial(make, frame),
            file_name=f"{file_name}.{kind.lower()}",
            mime=mime,
            key=f"{key}-{kind}",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
            help=f"Download {text.count(len(frame), 'row')}",
        )


def count_of_rows(rows: int, visible: int) -> str:
    """Return such as `3 rows`, or `120 rows, 20 visible: scroll in the table`."""
    counted = text.count(rows, "row")
    return counted if rows <= visible else f"{counted}, {visible:,} visible: scroll in the table"


def _is_decimal(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, Decimal) for value in column)


def readable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return numbers and dates unchanged, so that they sort; other values as text."""
    if pd.api.types.is_numeric_dtype(column) or _is_decimal(column):
        return column
    return pd.Series([_cell(value) for value in column], index=column.index, dtype=object)


def _cell(value: object) -> object:
    if text.is_missing(value):
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return text.moment(value) if isinstance(value, datetime) else text.plain(value)


def column(values: "pd.Series[Any]", heading: str, *, all_decimals: bool = False) -> Any:
    """Return Streamlit's column configuration for the type of the values."""
    if _is_decimal(values):
        form = "%.6f" if values.name == "rate" else "accounting"
        if all_decimals and (places := _decimal_places(values)) > AMOUNT_DECIMALS:
            form = f"%.{places}f"
        return st.column_config.NumberColumn(RIGHT + heading, format=form)
    if pd.api.types.is_bool_dtype(values):
        return st.column_config.CheckboxColumn(heading)
    if pd.api.types.is_numeric_dtype(values):
        return st.column_config.NumberColumn(
            RIGHT + heading,
            format="%d" if _IS_ID.fullmatch(str(values.name)) else "localized",
        )
    if any(isinstance(value, date) and not isinstance(value, datetime) for value in values):
        return st.column_config.DateColumn(heading, format="YYYY-MM-DD")
    return st.column_config.TextColumn(heading, width=_width(values))


def _decimal_places(values: "pd.Series[Any]") -> int:
    """Return the largest number of decimals, up to those that a browser's numbers have."""
    exponents = [value.as_tuple().exponent for value in values if isinstance(value, Decimal)]
    return min(max(-int(exponent) for exponent in exponents), MAX_DECIMALS)


def _width(values: "pd.Series[Any]") -> int | None:
    """Return the width if the longest text is after the rows that the browser measures."""
    lengths = [len(str(value)) for value in values if not text.is_missing(value)]
    needed, measured = (
        min(max(some, default=0) * LETTER_PIXELS + CELL_PIXELS, MAX_PIXELS)
        for some in (lengths, lengths[:MEASURED_ROWS])
    )
    return needed if measured < needed else None
