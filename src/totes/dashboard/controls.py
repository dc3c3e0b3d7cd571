"""The choices beside every page. The URL alone remembers them: a widget shows what it says."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import PRESET_LABELS, PRESETS, Choices, Filter
from totes.dashboard.view import PAGES, Query, address, choice, go, link_to, slot

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

MEANT = {
    "currencies": "What orders and payments were made in.",
    "countries": (
        "Of sales, where they are delivered. Of purchases and payments, where the supplier, the "
        "payer or the payee has its legal address."
    ),
    "departments": (
        "That of the member of staff who made the order; of payments, who made the order that "
        "they are for."
    ),
}
"""What a choice narrows: not the same of all that a page shows."""

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)


def navigation(query: Query) -> None:
    """Links to all pages that keep the filter, also when opened in another tab."""
    for page, title in PAGES.items():
        link_to(page, title, query, ICONS[page])


def controls(chosen: Filter, choices: Choices) -> None:
    """The widgets, showing `chosen`; a change of one goes into the URL."""
    _period(chosen, choices)
    _several(chosen, choices, "currencies", "Currency", text.plain)
    _countries(chosen, choices)
    _several(chosen, choices, "departments", "Department", text.plain)
    _several(
        chosen,
        choices,
        "counterparties",
        "Counterparty",
        lambda key: f"{text.plain(choices.counterparties.get(key, ''))} ({key})",
    )
    key = slot("in", chosen.reporting)
    st.selectbox(
        "All sums in",
        sorted({*choices.reporting, chosen.reporting}),
        key=key,
        on_change=_put(lambda now, value: replace(now, reporting=value), "in", key, choices),
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
    def picked(now: Filter, name: str) -> Filter:
        return replace(now, period="") if name == FREE else now.in_period(name, choices)

    key = slot("period", chosen.period or FREE)
    st.selectbox(
        "Period",
        [*PRESETS, FREE],
        format_func=lambda name: PRESET_LABELS.get(name, "Days of your choice"),
        key=key,
        on_change=_put(picked, "period", key, choices),
    )
    for column, name, label, change in zip(
        st.columns(2),
        ("from", "to"),
        ("From", "To"),
        (
            lambda now, day: now.within(day, max(day, now.until)),
            lambda now, day: now.within(min(day, now.since), day),
        ),
        strict=True,
    ):
        key = slot(name, chosen.since if name == "from" else chosen.until)
        with column:
            st.date_input(
                label,
                key=key,
                format="YYYY-MM-DD",
                min_value=FIRST_DAY,
                max_value=LAST_DAY,
                on_change=_put(change, name, key, choices),
            )


def _several(
    chosen: Filter, choices: Choices, name: str, label: str, shown: Callable[[Any], str]
) -> None:
    """Several of what there is, or, with none chosen, all of it."""

    def change(now: Filter, values: list[Any]) -> Filter:
        narrowed: dict[str, Any] = {name: tuple(values)}
        return replace(now, **narrowed)

    known, now = getattr(choices, name), getattr(chosen, name)
    _choice_of(known, now, choices, name=name, label=label, shown=shown, change=change)


def _countries(chosen: Filter, choices: Choices) -> None:
    """Each country once, however many names it has."""
    countries = choices.each_country

    def change(now: Filter, values: list[str]) -> Filter:
        return replace(now, countries=tuple(name for one in values for name in countries[one]))

    _choice_of(
        countries,
        chosen.each_country,
        choices,
        name="countries",
        label="Country",
        shown=lambda one: " / ".join(map(text.plain, countries.get(one, (one,)))),
        change=change,
    )


def _choice_of(  # noqa: PLR0913  what a choice of several is made of
    known: Iterable[Any],
    chosen: Iterable[Any],
    choices: Choices,
    *,
    name: str,
    label: str,
    shown: Callable[[Any], str],
    change: Callable[[Filter, list[Any]], Filter],
) -> None:
    key = slot(name, list(chosen))
    st.multiselect(
        label,
        sorted(known, key=lambda one: shown(one).lower()),
        key=key,
        format_func=shown,
        placeholder="All",
        help=MEANT.get(name),
        on_change=_put(change, name, key, choices),
    )


def _moment(chosen: Filter, choices: Choices) -> None:
    moment = chosen.as_of  # to the microsecond; the widget shows minutes
    key = slot("as_of", moment and moment.replace(second=0, microsecond=0, tzinfo=None))
    last = choices.now and choices.now.astimezone(UTC).date()
    begins = choices.history_begins
    since = f" History begins at {text.moment(begins)}." if begins else ""
    st.datetime_input(
        "Time machine: as of (UTC)",
        key=key,
        format="YYYY-MM-DD",
        step=60,
        min_value=datetime(1900, 1, 1),  # noqa: DTZ001  in UTC, as the widget says
        max_value=datetime.combine(last or LAST_DAY, time.max),
        on_change=_put(
            lambda now, at: replace(now, as_of=at and at.replace(tzinfo=UTC)),
            "as_of",
            key,
            choices,
        ),
        help=f"Every page as it stood at a moment; empty for now.{since}",
    )


def _put(
    change: Callable[[Filter, Any], Filter], name: str, key: str, choices: Choices
) -> Callable[[], None]:
    """What to do when a widget has changed: its value into the filter, the filter into the URL."""

    def changed() -> None:
        chose, value = choice(name, key)
        if chose and (value is not None or name == "as_of"):
            now, _ = Filter.from_query(address(), choices)
            go(change(now, value))

    return changed
