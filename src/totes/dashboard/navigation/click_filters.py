"""Filter by a click on a bar or a country, as by the filters in the sidebar."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text, world
from totes.dashboard.filters import FIELDS
from totes.dashboard.navigation.controls import FILTER_HELP
from totes.dashboard.navigation.view import View, go, in_url

HINT = "Click on a country to filter by it; click again to remove the filter."


def ranked(  # noqa: PLR0913  the parts of a chart
    page: View,
    frame: pd.DataFrame,
    label: str,
    dimension: str,
    key: str,
    *,
    tooltips: Mapping[str, str],
) -> str:
    """Show bars of a dimension; a click filters by it, if it is one of the filters.

    Return the chart's text alternative.
    """
    clickable = dimension in FIELDS
    most = charts.enough(frame)
    if len(frame) > most:
        label_more = f"Show up to {charts.MANY} bars"
        if st.toggle(label_more, **in_url(f"{key}-more", [True], default=False)):
            most = charts.MANY
    chart = charts.ranked(
        frame,
        label,
        page.currency,
        dark=page.dark,
        tooltips=tooltips,
        clickable=clickable,
        most=most,
    )
    if clickable:
        _show_clickable(page, chart, dimension, key, lambda point: point.get("key"))
    else:
        charts.show(chart, key=key)
    return chart.alt_text


def world_map(page: View, frame: pd.DataFrame, label: str, key: str) -> str:
    """Show a map; a click on a country filters by it. Return the map's text alternative."""
    chart = charts.world_map(frame, label, page.currency, dark=page.dark)
    countries = page.choices.countries

    def country_of(point: Mapping[str, Any]) -> str | None:
        return world.name_in(countries, point.get("id"))

    with st.container(key=f"map-{key}"):  # style.css sets its height by its width
        _show_clickable(page, chart, "country", key, country_of, height="stretch")
    if unmapped := charts.unmapped_text(frame, page.currency):
        st.text(unmapped)
    return chart.alt_text


def filter_banner(page: View) -> None:
    """Show the filters of the page, and a button to remove them: the sidebar may be closed."""
    criteria, choices = page.criteria, page.choices
    if not criteria.is_narrowed:
        return
    chosen = {
        "Country": criteria.each_country,
        "Department": criteria.departments,
        "Counterparty": [
            choices.counterparties.get(key, str(key)) for key in criteria.counterparties
        ],
        "Currency": criteria.currencies,
    }
    filters = (f"{label}: {', '.join(map(text.plain, of))}" for label, of in chosen.items() if of)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text("; ".join(filters), width="content")
        st.button(
            "Remove filters",
            key="remove-filters",
            on_click=go,
            args=[criteria.everything()],
            type="tertiary",
            icon=":material/close:",
        )
    for name, label in (("countries", "Country"), ("departments", "Department")):
        if getattr(criteria, name):
            st.caption(f"{label}: {FILTER_HELP[name][0].lower()}{FILTER_HELP[name][1:]}")


def _show_clickable(  # noqa: PLR0913  the chart, and how a click in it is read
    page: View,
    chart: charts.Chart,
    dimension: str,
    key: str,
    value_of: Callable[[Mapping[str, Any]], object],
    *,
    height: Literal["content", "stretch"] = "content",
) -> None:
    """Each filter has a chart with a key of its own, without the clicks of the previous one."""
    key = f"{key}-{sorted(page.criteria.to_query().items())}"

    def on_click() -> None:
        if points := st.session_state[key]["selection"].get(charts.MEMBER):
            narrowed = page.criteria.only(dimension, value_of(points[0]), page.choices)
            if narrowed != page.criteria:
                go(narrowed)

    charts.show(
        chart,
        key=key,
        height=height,
        on_select=on_click,
        selection_mode=charts.MEMBER,
    )
