"""The data dictionary: tables and columns with their meaning and source."""

from typing import Any

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.bookkeeping import open_bookkeeping
from totes.dashboard.components import tables
from totes.dashboard.metrics import dictionary
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.view import View, in_url, view
from totes.dashboard.server.backends import backends

STARS = ("Sales", "Purchases", "Payments")

UNITS = {"money": "reporting currency", "price": "reporting currency", "count": "number"}


def show(page: View) -> None:
    """Draw the data dictionary: tables, columns, types and comments of the star."""
    st.title("Data dictionary")
    st.caption("Metrics of the dashboard, and tables and columns of the warehouse.")
    tabs = st.tabs([f"{star} star" for star in STARS])
    for tab, name in zip(tabs, STARS, strict=True):
        with tab:
            star = dictionary.star(name)
            dimensions = "; ".join(
                f"{dimension} by {', '.join(columns)}" for dimension, columns in star.dimensions
            )
            st.graphviz_chart(
                diagram(star, dark=page.dark),
                width="stretch",
                alt=f"{star.fact} and its dimensions: {dimensions}.",
            )
            st.text(dimensions.replace("; ", "\n"))
    with open_bookkeeping(backends().warehouse) as bookkeeping:
        star_tables, columns = dictionary.tables(bookkeeping), dictionary.columns(bookkeeping)
    _metrics()
    st.header("Tables")
    tables.table(
        star_tables,
        {
            "table": "Table",
            "kind": "Kind",
            "meaning": "Meaning",
            "rows_estimate": "Rows (estimate)",
        },
        key="dictionary-tables",
        file_name="totes-tables",
        alt="All tables and views with their meaning.",
    )
    st.header("Columns")
    names = list(star_tables["table"])
    selected = st.multiselect("Tables", names, placeholder="All", key="dictionary-tables-filter")
    if selected:
        columns = columns[columns["table"].isin(selected)]
    tables.table(
        _readable(columns),
        {
            "table": "Table",
            "column": "Column",
            "type": "Type",
            "sources": "Source columns",
            "meaning": "Meaning",
            "required": "Required",
            "key": "Key",
            "references": "References",
        },
        key="dictionary-columns",
        file_name="totes-columns",
        alt="All columns with their type, meaning and the columns of totesys they come from.",
    )


def _metrics() -> None:
    """Show the definitions of the metrics, and the SQL of a selected one."""
    st.header("Metrics")
    metrics_table = pd.DataFrame(
        {
            "metric": metric.label,
            "formula": metric.formula,
            "rows": metric.rows.capitalize(),
            "columns": ", ".join(metric.columns),
            "unit": UNITS[metric.unit],
        }
        for metric in METRICS.values()
    )
    tables.table(
        metrics_table,
        {
            "metric": "Metric",
            "formula": "Formula",
            "rows": "Rows",
            "columns": "Columns",
            "unit": "Unit",
        },
        key="dictionary-metrics",
        file_name="totes-metrics",
        alt="The metrics of the dashboard with their formula and columns.",
        full_height=True,
    )
    options: dict[str, Any] = in_url("metric", list(METRICS), None)
    selected = st.selectbox(
        "SQL of a metric",
        list(METRICS),
        format_func=lambda name: METRICS[name].label,
        index=None,
        placeholder="Select a metric",
        **options,
    )
    if selected:
        st.code(METRICS[selected].sql, language="sql")
        st.caption(
            "`selected` is true for the rows that the page's filters select. The views and macros "
            "are in `views.sql`."
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
    """Return a Graphviz diagram of a fact and its dimensions.

    Names need no quoting: they are those of the star's declaration.
    """
    fact = charts.accent(dark=dark)
    dimension = charts.FAINT_DARK if dark else charts.FAINT_LIGHT
    inner, outer = ("black", "white") if dark else ("white", "black")
    edge = charts.EDGE_DARK if dark else charts.EDGE_LIGHT
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
