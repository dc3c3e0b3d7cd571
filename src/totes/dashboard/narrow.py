"""From all to one of them: by a click on a bar or a country, as by the filter beside the page."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text, world
from totes.dashboard.controls import MEANT
from totes.dashboard.filters import FIELDS
from totes.dashboard.view import View, go

HINT = "Click one to see nothing else, and again to see all; the filter does the same."


def ranked(  # noqa: PLR0913  what bars that narrow are made of
    page: View,
    found: pd.DataFrame,
    what: str,
    dimension: str,
    key: str,
    *,
    tooltips: Mapping[str, str],
) -> str:
    """Bars of a dimension; a click narrows the filter, where it can. Says what the chart says."""
    narrows = dimension in FIELDS
    drawn = charts.ranked(
        found, what, page.currency, dark=page.dark, tooltips=tooltips, narrows=narrows
    )
    if narrows:
        _clickable(page, drawn, dimension, key, lambda picked: picked.get("key"))
    else:
        st.altair_chart(drawn.drawn, alt=drawn.says, key=key)
    return drawn.says


def world_map(page: View, found: pd.DataFrame, what: str, key: str) -> str:
    """Countries; a click on one narrows the filter to it. Says what the map says."""
    drawn = charts.world_map(found, what, page.currency, dark=page.dark)
    known = page.choices.countries

    def meant(picked: Mapping[str, Any]) -> str | None:
        return world.name_in(known, picked.get("id"))

    with st.container(key=f"map-{key}"):  # to which app.py's style gives the height for its width
        _clickable(page, drawn, "country", key, meant, height="stretch")
    if elsewhere := charts.off_the_map(found, page.currency):
        st.text(elsewhere)
    return drawn.says


def told(page: View) -> None:
    """What the page is narrowed to, where a closed sidebar would hide it, and the way back."""
    chosen, choices = page.chosen, page.choices
    if not chosen.is_narrowed:
        return
    names = [
        *chosen.each_country,
        *chosen.departments,
        *(choices.counterparties.get(key, str(key)) for key in chosen.counterparties),
        *(f"in {code}" for code in chosen.currencies),
    ]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"Only {', '.join(map(text.plain, names))}", width="content")
        st.button(
            "Show all",
            key="show-all",
            on_click=go,
            args=[chosen.everything()],
            type="tertiary",
            icon=":material/close:",
        )
    for name, label in (("countries", "Country"), ("departments", "Department")):
        if getattr(chosen, name):
            st.caption(f"{label}: {MEANT[name][0].lower()}{MEANT[name][1:]}")


def _clickable(  # noqa: PLR0913  the chart, and what a click in it means
    page: View,
    drawn: charts.Chart,
    dimension: str,
    key: str,
    meant: Callable[[Mapping[str, Any]], object],
    *,
    height: Literal["content", "stretch"] = "content",
) -> None:
    """Another filter has another chart, which knows nothing of the clicks in this one."""
    key = f"{key}-{sorted(page.chosen.to_query().items())}"

    def clicked() -> None:
        if picked := st.session_state[key]["selection"].get(charts.ONE):
            narrowed = page.chosen.only(dimension, meant(picked[0]), page.choices)
            if narrowed != page.chosen:
                go(narrowed)

    st.altair_chart(
        drawn.drawn,
        alt=drawn.says,
        key=key,
        height=height,
        on_select=clicked,
        selection_mode=charts.ONE,
    )
