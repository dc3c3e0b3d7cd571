"""Tables as they are read, and as files of exactly what is shown."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from io import BytesIO
from typing import Any

import pandas as pd
import streamlit as st

from totes.dashboard import text
from totes.dashboard.spreadsheet import csv

ZERO_MOSTLY = "unconverted"
"""A column that is left out where it has nothing to tell."""

_IS_NAME = re.compile(r"(\w+_)?id|key|batch")
"""Columns whose whole numbers tell one from another: they are shown without a comma."""

ROW_PIXELS = 35
MOST_ROWS_SEEN = 12

WIDE = 4
"""Columns that a phone is too narrow for: there a line says that one can swipe (see app.py)."""

MEASURED, LETTER_PIXELS, CELL_PIXELS, MOST_PIXELS = 10, 6, 20, 260
"""The browser makes a column as wide as its first rows want; of longer texts we say it."""

type Frame = pd.DataFrame

type Columns = Mapping[str, str]
"""Heading by the name of the column; columns that are not named are not shown."""


def parquet(frame: pd.DataFrame) -> bytes:
    """Decimal stays exact, dates stay dates."""
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def table(  # noqa: PLR0913  what a table is made of
    frame: pd.DataFrame,
    columns: Columns,
    *,
    key: str,
    file_name: str,
    alt: str,
    selectable: bool = False,
    empty: str = "Nothing in this period.",
    missing: str = "-",
    whole: bool = False,
) -> int | None:
    """The columns by their headings, and buttons for a CSV and a Parquet file of the same rows.

    `missing` stands where a value is None. A `whole` table is as high as it has rows. Of a
    `selectable` one the number of the row that was chosen is returned.
    """
    if frame.empty:
        st.text(empty)
        return None
    if ZERO_MOSTLY in columns and not frame[ZERO_MOSTLY].any():
        columns = {name: heading for name, heading in columns.items() if name != ZERO_MOSTLY}
    exact = frame[list(columns)]
    shown = pd.DataFrame({name: readable(exact[name]) for name in columns})
    options: dict[str, Any] = {}
    if selectable:
        options = {"on_select": "rerun", "selection_mode": "single-row"}
    headed = {name: column(exact[name], heading) for name, heading in columns.items()}
    with st.container(key=f"{'wide' if len(columns) >= WIDE else 'narrow'}-{key}"):
        chosen = st.dataframe(
            shown,
            hide_index=True,
            height=(len(shown) if whole else min(len(shown), MOST_ROWS_SEEN)) * ROW_PIXELS
            + ROW_PIXELS
            + 3,
            key=key,
            alt=alt,
            placeholder=missing,
            column_config=headed,
            **options,
        )
    downloads(exact, key=key, file_name=file_name)
    picked = chosen["selection"]["rows"] if selectable else []
    return picked[0] if picked and picked[0] < len(frame) else None


def downloads(frame: pd.DataFrame, *, key: str, file_name: str) -> None:
    """A CSV and a Parquet file of a frame; they are made when asked for."""
    with st.container(horizontal=True):
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
                help=f"{len(frame):,} rows, as shown",
            )


def _is_decimal(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, Decimal) for value in column)


def readable(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers and dates as they are, so that they sort; everything else as text."""
    if pd.api.types.is_numeric_dtype(column) or _is_decimal(column):
        return column
    return pd.Series([_cell(value) for value in column], index=column.index, dtype=object)


def _cell(value: object) -> object:
    if text.is_missing(value):
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    return text.moment(value) if isinstance(value, datetime) else text.plain(value)


def column(values: "pd.Series[Any]", heading: str) -> Any:
    """Streamlit's column configuration that suits the type of the values."""
    if _is_decimal(values):
        form = "%.6f" if values.name == "rate" else "accounting"
        return st.column_config.NumberColumn(heading, format=form)
    if pd.api.types.is_bool_dtype(values):
        return st.column_config.CheckboxColumn(heading)
    if pd.api.types.is_numeric_dtype(values):
        return st.column_config.NumberColumn(
            heading,
            format="%d" if _IS_NAME.fullmatch(str(values.name)) else "localized",
        )
    if any(isinstance(value, date) and not isinstance(value, datetime) for value in values):
        return st.column_config.DateColumn(heading, format="YYYY-MM-DD")
    return st.column_config.TextColumn(heading, width=_width(values))


def _width(values: "pd.Series[Any]") -> int | None:
    """Of a column whose longest text comes after the rows that the browser measures."""
    lengths = [len(str(value)) for value in values if not text.is_missing(value)]
    wanted, measured = (
        min(max(some, default=0) * LETTER_PIXELS + CELL_PIXELS, MOST_PIXELS)
        for some in (lengths, lengths[:MEASURED])
    )
    return wanted if measured < wanted else None
