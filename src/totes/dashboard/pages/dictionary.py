"""What every table and column means, and where it comes from."""

import pandas as pd
import streamlit as st

from totes.dashboard import charts, tables, text
from totes.dashboard.metrics import dictionary
from totes.dashboard.view import View, view

STARS = ("Sales", "Purchases", "Payments")


def show(page: View) -> None:
    """Draw the data dictionary: tables, columns, types and comments of the star."""
    st.title("Data dictionary")
    st.caption(
        "The warehouse's tables for analysts; `docs/queries.md` answers eleven questions in SQL."
    )
    tabs = st.tabs([f"{star} star" for star in STARS])
    for tab, name in zip(tabs, STARS, strict=True):
        with tab:
            star = dictionary.star(name)
            around = "; ".join(
                f"{dimension} by {', '.join(columns)}" for dimension, columns in star.dimensions
            )
            st.graphviz_chart(
                diagram(star, dark=page.dark),
                width="stretch",
                alt=f"{star.fact} in the middle, and around it {around}.",
            )
            st.text(around.replace("; ", "\n"))
    found = dictionary.tables(page.reading)
    st.subheader("Tables")
    tables.table(
        found,
        {"table": "Table", "kind": "Kind", "meaning": "Meaning", "rows_estimate": "Rows, about"},
        key="dictionary-tables",
        file_name="totes-tables",
        alt="All tables and views with their meaning.",
    )
    st.subheader("Columns")
    names = list(found["table"])
    picked = st.multiselect("Tables", names, placeholder="All", key="dictionary-picked")
    meaning = dictionary.columns(page.reading)
    if picked:
        meaning = meaning[meaning["table"].isin(picked)]
    tables.table(
        _readable(meaning),
        {
            "table": "Table",
            "column": "Column",
            "type": "Type",
            "sources": "From (in totesys)",
            "meaning": "Meaning",
            "required": "Required",
            "key": "Key",
            "references": "Points to",
        },
        key="dictionary-columns",
        file_name="totes-columns",
        alt="All columns with their type, meaning and the columns of totesys they come from.",
    )


def _readable(columns: pd.DataFrame) -> pd.DataFrame:
    return columns.assign(
        required=["" if nullable else "yes" for nullable in columns["nullable"]],
        sources=[", ".join(sources) for sources in columns["sources"]],
        references=[text.plain(target) for target in columns["references"]],
        key=[
            "" if key is None or key is False else "yes" if key is True else str(key)
            for key in columns["key"]
        ],
    )


def diagram(star: dictionary.StarSchema, *, dark: bool) -> str:
    """The fact in the middle and its dimensions around it, in Graphviz's language.

    All names are the contract's own.
    """
    fact, dimension = (charts.SKY, "#2A2F37") if dark else (charts.BLUE, "#E9ECEF")
    inner, outer = ("black", "white") if dark else ("white", "black")
    edge = "#9AA0A6" if dark else "#6B7280"
    lines = [
        "digraph {",
        'bgcolor="transparent"; rankdir="LR"; nodesep="0.15"; ranksep="1.2";',
        'node [shape=box style="rounded,filled" color="transparent" fontname="sans-serif"];',
        f'edge [color="{edge}" fontcolor="{edge}" fontname="sans-serif" fontsize=10];',
        f'"{star.fact}" [fillcolor="{fact}" fontcolor="{inner}"];',
    ]
    for name, columns in star.dimensions:
        lines.append(f'"{name}" [fillcolor="{dimension}" fontcolor="{outer}"];')
        label = r"\n".join(columns)
        lines.append(f'"{star.fact}" -> "{name}" [label="{label}"];')
    return "\n".join([*lines, "}"])


show(view())
