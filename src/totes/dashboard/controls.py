"""The choices beside every page. The URL alone remembers them: a widget shows what it says."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import PRESET_LABELS, PRESETS, Choices, Filter
from totes.dashboard.view import PAGES, go, link

FREE = "free"
"""The choice of days of one's own."""

ICONS = {
    "overview": ":material/home:",
    "sales": ":material/sell:",
    "purchases": ":material/shopping_cart:",
    "payments": ":material/payments:",
    "history": ":material/history:",
    "pipeline": ":material/conversion_path:",
    "dictionary": ":material/menu_book:",
}

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)


def navigation(chosen: Filter) -> None:
    """Links to all pages that keep the filter, also when opened in another tab."""
    for page, title in PAGES.items():
        link(page, title, chosen, icon=ICONS[page])


def controls(chosen: Filter, choices: Choices) -> None:
    """The widgets, showing `chosen`; a change of one goes into the URL."""
    _period(chosen, choices)
    for name, label, options in (
        ("currencies", "Currency", choices.currencies),
        ("countries", "Country", choices.countries),
        ("departments", "Department", choices.departments),
    ):
        _several(chosen, name, label, list(options), text.plain)
    _several(
        chosen,
        "counterparties",
        "Counterparty",
        sorted(choices.counterparties, key=lambda key: choices.counterparties[key].lower()),
        lambda key: f"{text.plain(choices.counterparties.get(key, ''))} ({key})",
    )
    st.session_state["in"] = chosen.reporting
    st.selectbox(
        "All sums in",
        sorted({*choices.reporting, chosen.reporting}),
        key="in",
        on_change=_put(lambda value: replace(chosen, reporting=value), "in"),
        help="Every amount is converted at the European Central Bank's rate of its own day.",
    )
    _moment(chosen, choices)
    if chosen.is_narrowed or chosen.as_of is not None:
        fresh = Filter.of(choices)
        st.button(
            "Clear all filters",
            icon=":material/filter_alt_off:",
            on_click=partial(go, replace(fresh, reporting=chosen.reporting)),
        )


def _period(chosen: Filter, choices: Choices) -> None:
    st.session_state["period"] = chosen.period or FREE

    def picked(name: str) -> Filter:
        return replace(chosen, period="") if name == FREE else chosen.in_period(name, choices)

    st.selectbox(
        "Period",
        [*PRESETS, FREE],
        format_func=lambda name: PRESET_LABELS.get(name, "Days of your choice"),
        key="period",
        on_change=_put(picked, "period"),
    )
    since, until = st.columns(2)
    with since:
        st.session_state["from"] = chosen.since
        st.date_input(
            "From",
            key="from",
            format="YYYY-MM-DD",
            min_value=FIRST_DAY,
            max_value=LAST_DAY,
            on_change=_put(lambda day: chosen.within(day, max(day, chosen.until)), "from"),
        )
    with until:
        st.session_state["to"] = chosen.until
        st.date_input(
            "To",
            key="to",
            format="YYYY-MM-DD",
            min_value=FIRST_DAY,
            max_value=LAST_DAY,
            on_change=_put(lambda day: chosen.within(min(day, chosen.since), day), "to"),
        )


def _several(
    chosen: Filter, name: str, label: str, options: list[Any], shown: Callable[[Any], str]
) -> None:
    """Several of what there is, or, with none chosen, all of it."""
    st.session_state[name] = list(getattr(chosen, name))

    def change(values: list[Any]) -> Filter:
        narrowed: dict[str, Any] = {name: tuple(values)}
        return replace(chosen, **narrowed)

    st.multiselect(
        label,
        options,
        key=name,
        format_func=shown,
        placeholder="All",
        on_change=_put(change, name),
    )


def _moment(chosen: Filter, choices: Choices) -> None:
    moment = chosen.as_of  # to the microsecond; the widget shows minutes
    st.session_state["as_of"] = moment and moment.replace(second=0, microsecond=0, tzinfo=None)
    begins = choices.history_begins
    since = f" History begins at {text.moment(begins)}." if begins else ""
    st.datetime_input(
        "Time machine: as of (UTC)",
        key="as_of",
        format="YYYY-MM-DD",
        step=60,
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001  in UTC, as the widget says
        max_value=datetime(2200, 1, 1),  # noqa: DTZ001
        on_change=_put(
            lambda at: replace(chosen, as_of=at and at.replace(tzinfo=UTC)),
            "as_of",
        ),
        help=f"Every page as it stood at a moment; empty for now.{since}",
    )


def _put(change: Callable[[Any], Filter], key: str) -> Callable[[], None]:
    """What to do when a widget has changed: its value into the filter, the filter into the URL.

    To be called once the session holds what the widget is to show.
    """
    shown = st.session_state[key]

    def changed() -> None:
        value = st.session_state[key]
        if value != shown and (value is not None or key == "as_of"):
            go(change(value))

    return changed
