"""Explore: views that users compose from metrics and dimensions, or write in SQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.charts import Column
from totes.dashboard.components import tables, totals
from totes.dashboard.components.money import rates_note
from totes.dashboard.explore import builder, link, worked
from totes.dashboard.explore.sandbox import (
    COUNTED_ROWS,
    MAX_STATEMENT_LENGTH,
    SHOWN_ROWS,
    Result,
    StatementError,
)
from totes.dashboard.explore.saved import MAX_NAME_LENGTH, SavedView, SavedViews, SaveError
from totes.dashboard.filters import ignored, quoted
from totes.dashboard.metrics import periods
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation.view import (
    View,
    changed_value,
    go_to,
    in_url,
    link_to,
    page_query,
    view,
    widget_key,
)
from totes.dashboard.reading import frame, parameters
from totes.dashboard.server import sign_in
from totes.dashboard.server.backends import backends

MODES = {"builder": "Builder", "sql": "SQL", "saved": "Saved views"}
CHARTS = {"bars": "Bars", "lines": "Lines", "number": "Numbers", "table": "Table only"}

PERIODS = {"day": "D", "week": "W-MON", "month": "MS", "quarter": "QS", "year": "YS"}
"""The frequency in pandas of each grain."""

ZEROS: Mapping[str, int | Decimal] = {"count": 0, "money": Decimal(0)}
"""The metrics of a period without rows, by their unit."""

DEFAULT_METRIC, DEFAULT_DIMENSION = "revenue", "day"
NONE = "none"

MAX_METRICS = 6

SQL_HELP = (
    "One SELECT statement of DuckDB's dialect. `SHOW TABLES` lists the tables and views, and "
    "`DESCRIBE sales_line` the columns of one. `sales_line`, `purchase_line` and `payment_line` "
    "have names and converted amounts; `WHERE selected AND is_in_period(day)` applies the filters "
    "of the sidebar. The warehouse's `current_…` views and `…_as_of(moment)` functions exist, too."
)

EXAMPLE = """\
SELECT country, count(*) AS orders, sum(value) AS revenue
FROM sales_line
WHERE selected AND is_in_period(day)
GROUP BY ALL
ORDER BY revenue DESC"""

_RESULT, _NOTICE = "explore-run", "explore-notice"
"""Keys of the session state: the last statement with its filter and its result, and an error."""

_NAME, _SAVED = "explore-name", "explore-saved"
"""Keys of the session state: the name of a view, and a message about saving it."""


def show(page: View) -> None:
    """Draw the builder, the SQL editor or the list of saved views."""
    st.title("Explore")
    mode = st.radio(
        "Mode",
        list(MODES),
        format_func=MODES.__getitem__,
        horizontal=True,
        label_visibility="collapsed",
        **in_url("mode", list(MODES), "builder"),
    )
    match mode:
        case "builder":
            _builder(page)
        case "sql":
            _sql(page)
        case _:
            _saved_views(page)


def _builder(page: View) -> None:
    chosen = _metrics()
    if not chosen:
        st.text("Select a metric.")
        return
    offered = [NONE, *builder.common_dimensions(METRICS[name] for name in chosen)]
    with st.container(horizontal=True):
        selected = [
            st.selectbox(
                label,
                offered,
                format_func=_dimension_label,
                disabled=page_query().get("chart") == "number",
                **in_url(name, offered, default),
            )
            for name, label, default in (
                ("by", "Group by", DEFAULT_DIMENSION),
                ("then", "Then by", NONE),
            )
        ]
        kind = _chart_type("bars")
    dimensions = [name for name in dict.fromkeys(selected) if name != NONE and kind != "number"]
    statement = builder.statement(chosen, dimensions)
    today = periods.days(page.reading, page.criteria.as_of).today
    rows = page.reading.query(statement, page.criteria, today=today)
    result = frame(rows, [*dimensions, *chosen])
    grouped = [
        Column(name, _dimension_label(name), grain=builder.DIMENSIONS[name].grain)
        for name in dimensions
    ]
    values = [
        Column(name, METRICS[name].label, page.currency if METRICS[name].unit != "count" else "")
        for name in chosen
    ]
    _definitions(page, chosen)
    drawn = _with_all_periods(result, grouped[0], values) if len(grouped) == 1 else result
    _chart(page, drawn, grouped, values, kind)
    tables.table(
        result,
        {
            one.name: f"{one.label}, {one.currency}" if one.currency else one.label
            for one in [*grouped, *values]
        },
        key="explore-table",
        file_name=f"totes-explore_{page.file_name}",
        alt="All metrics by the dimensions.",
    )
    if len(result) == SHOWN_ROWS:
        st.text(f"Only the first {SHOWN_ROWS:,} rows are shown.")
    with st.expander("SQL of this view"):
        st.code(statement, language="sql")
        _sql_link(page, "Edit as SQL", statement)
    _save()


def _metrics() -> list[str]:
    """Return the names of the metrics that the URL and the widget select."""
    written = page_query().get("metric", DEFAULT_METRIC)
    given = [written] if isinstance(written, str) else written
    for name in given:
        if name not in METRICS and name != NONE:
            st.text(ignored("metric", f"{quoted(name)} does not exist"))
    names = list(dict.fromkeys(name for name in given if name in METRICS))[:MAX_METRICS]
    key = widget_key("metric", names)

    def on_change() -> None:
        changed, value = changed_value("metric", key)
        if changed:
            go_to(metric=value or [NONE])

    st.multiselect(
        "Metrics",
        list(METRICS),
        key=key,
        format_func=lambda name: METRICS[name].label,
        max_selections=MAX_METRICS,
        on_change=on_change,
    )
    return names


def _dimension_label(name: str) -> str:
    return "None" if name == NONE else builder.DIMENSIONS[name].label


def _chart_type(default: str) -> str:
    offered = list(CHARTS)
    kind: str = st.selectbox(
        "Chart", offered, format_func=CHARTS.__getitem__, **in_url("chart", offered, default)
    )
    return kind


def _definitions(page: View, chosen: Sequence[str]) -> None:
    """Show the period, and what the numbers are."""
    st.caption(f"{text.period(page.criteria.since, page.criteria.until)}.")
    rates_note(page)
    with st.expander("Definitions"):
        for name in chosen:
            st.markdown(f"**{METRICS[name].label}**: {METRICS[name].help}")


def _with_all_periods(
    result: pd.DataFrame, dimension: Column, values: Sequence[Column]
) -> pd.DataFrame:
    """Return the rows, and those of the periods between the first and last that have no data.

    Their metrics are zero; they are None if the statement has several parts, as in the other rows.
    """
    if result.empty or not dimension.grain:
        return result
    rows = {row[0]: row for row in result.itertuples(index=False, name=None)}
    zeros = ZEROS if len(builder.parts_of(value.name for value in values)) == 1 else {}
    none = [zeros.get(METRICS[value.name].unit) for value in values]
    every = pd.date_range(min(rows), max(rows), freq=PERIODS[dimension.grain])
    starts = [start.date() for start in every]
    return frame(
        [rows.get(start, (start, *none)) for start in starts], [str(name) for name in result]
    )


def _chart(
    page: View,
    result: pd.DataFrame,
    dimensions: Sequence[Column],
    values: Sequence[Column],
    kind: str,
) -> None:
    """Show the chart of the values that have the first one's unit; numbers without a dimension."""
    if kind == "table" or result.empty or not values:
        return
    if kind == "number" or not dimensions:
        with totals.cards("explore", across=min(max(len(values), 2), 4)):
            for value in values:
                number = charts.exact(result[value.name].iloc[0], value.currency)
                with st.container(border=True):
                    st.text(value.label)  # not the metric's label, which is Markdown
                    st.metric(value.label, number, label_visibility="collapsed")
        return
    alike = [value for value in values if value.currency == values[0].currency]
    chart = charts.explored(
        result, dimensions[:2], alike, "lines" if kind == "lines" else "bars", dark=page.dark
    )
    charts.show(chart, key="explore-chart")
    if len(alike) < len(values):
        st.caption("The chart shows only the metrics that have the unit of the first metric.")


def _sql(page: View) -> None:
    statement = _statement_of_url()
    key = widget_key("sql", statement)
    with st.form("explore-sql", border=False):
        st.text_area("SQL", key=key, height=220, max_chars=MAX_STATEMENT_LENGTH, help=SQL_HELP)
        with st.container(horizontal=True):
            st.form_submit_button(
                "Run", icon=":material/play_arrow:", type="primary", on_click=_run, args=[key]
            )
    if notice := st.session_state.pop(_NOTICE, ""):
        st.error(notice)
    result = _result(page, statement)
    if isinstance(result, str):
        st.error("The statement failed.")
        st.code(result, language=None, wrap_lines=True)
        return
    _show_result(page, result)
    _save()


def _statement_of_url() -> str:
    written = page_query().get("sql")
    if not isinstance(written, str):
        return EXAMPLE
    try:
        return link.decode(written)
    except ValueError as error:
        st.text(ignored("sql", str(error)))
        return EXAMPLE


def _run(key: str) -> None:
    """Put the statement of the text area into the URL, and run it, even if it is unchanged."""
    st.session_state.pop(_RESULT, None)
    written = link.encode(st.session_state[key])
    if len(written) > link.MAX_LENGTH:
        st.session_state[_NOTICE] = "The statement is too long for a link. Make it shorter."
    else:
        go_to(sql=written)


def _result(page: View, statement: str) -> Result | str:
    """Return the result of the statement, or an error; it runs again if the filter changes."""
    asked = (statement, page.criteria)
    if st.session_state.get(_RESULT, (None,))[0] != asked:
        waiting = st.empty()
        with waiting.container(horizontal=True, vertical_alignment="center"):
            progress = st.empty()
            st.button("Stop", key="explore-stop", on_click=_store_result, args=[asked, "Stopped."])
        today = periods.days(page.reading, page.criteria.as_of).today
        variables = parameters(page.criteria) | {"today": today}
        result: Result | str

        def show_progress() -> None:
            progress.text("The statement is running.")  # Streamlit may end the script here

        try:
            result = backends().sandbox.run(statement, variables, show_progress)
        except StatementError as error:
            result = str(error)
        _store_result(asked, result)
        waiting.empty()
    found: Result | str = st.session_state[_RESULT][1]
    return found


def _store_result(asked: object, result: Result | str) -> None:
    st.session_state[_RESULT] = (asked, result)


def _show_result(page: View, result: Result) -> None:
    rows = result.rows
    kind = _chart_type("table")
    names = [str(name) for name in rows]
    values = [Column(name, name) for name in names if _is_number(rows[name])]
    dimensions = [
        Column(name, name, grain="day" if _is_day(rows[name]) else "")
        for name in names
        if not _is_number(rows[name])
    ]
    if not dimensions and len(values) > 1:  # such as a year
        dimensions, values = values[:1], values[1:]
    if kind != "table" and not values:
        st.text("A chart needs a column of numbers.")
    _chart(page, rows, dimensions, values, kind)
    tables.table(
        rows,
        {name: name for name in names},
        key="explore-result",
        file_name="totes-explore",
        alt="The rows of the statement.",
        empty="The statement returned no rows.",
        all_decimals=True,
    )
    shown = ""
    if result.total > len(rows):
        more = "more than " if result.total > COUNTED_ROWS else ""
        shown = f"The first {len(rows):,} of {more}{min(result.total, COUNTED_ROWS):,} rows. "
    is_old = result.batch != page.reading.state.batch
    newer = " Run it again for newer data." if is_old else ""
    st.caption(f"{shown}Ran in {result.seconds:.2f} s on batch {result.batch}.{newer}")


def _is_number(column: "pd.Series[Any]") -> bool:
    return (
        pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    ) or any(isinstance(value, Decimal) for value in column)


def _is_day(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, date) and not isinstance(value, datetime) for value in column)


def _saved_views(page: View) -> None:
    store = backends().saved_views
    st.header("Saved views")
    saved = store.all() if store else []
    if not saved:
        st.text("No view is saved. “Save view” is below each result of the builder and of SQL.")
    for place, one in enumerate(saved):
        with st.container(horizontal=True, vertical_alignment="center"):
            link_to("explore", "Open", {**one.query}, ":material/open_in_new:")
            st.text(text.plain(one.name))
            if one.user:
                st.text(f"by {text.plain(one.user)}")
            if store and (sign_in.is_operator() or one.user == sign_in.user()):
                st.button(
                    "Delete",
                    key=f"explore-delete-{place}-{one.name}",
                    type="tertiary",
                    icon=":material/delete:",
                    on_click=_delete,
                    args=[store, one.name],
                )
    st.header("Questions")
    st.caption("Statements for the warehouse from `docs/queries.md`, which also run here.")
    for question in worked.questions():
        _sql_link(page, question.title, question.sql)


def _sql_link(page: View, label: str, statement: str) -> None:
    query = {**page.criteria.to_query(), "mode": "sql", "sql": link.encode(statement)}
    link_to("explore", label, query, ":material/database:")


def _save() -> None:
    """Offer to save the view of the URL under a name."""
    if notice := st.session_state.pop(_SAVED, ""):
        st.text(notice)
    if backends().saved_views is None:
        return
    with st.popover("Save view", icon=":material/bookmark_add:"), st.form("explore-save"):
        st.text_input("Name", key=_NAME, max_chars=MAX_NAME_LENGTH)
        st.form_submit_button("Save", on_click=_save_view)
        st.caption("The link in the browser's address bar shares this view, too.")


def _save_view() -> None:
    store = backends().saved_views
    name = st.session_state[_NAME].strip()
    try:
        if store:
            store.save(SavedView(name, page_query(), sign_in.user()))
        st.session_state[_SAVED] = f"Saved as {text.plain(name)}."
    except SaveError as error:
        st.session_state[_SAVED] = str(error)


def _delete(store: SavedViews, name: str) -> None:
    try:
        store.delete(name)
    except SaveError as error:
        st.session_state[_SAVED] = str(error)


show(view())
