"""The sidebar of filters. The URL holds their values; a widget shows what the URL says."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, time
from functools import partial
from typing import Any

import streamlit as st

from totes.dashboard import text
from totes.dashboard.filters import (
    ALL_DAYS,
    COMPARISONS,
    PRESET_LABELS,
    Choices,
    Filter,
    offered_periods,
)
from totes.dashboard.navigation.view import (
    PAGES,
    Query,
    changed_value,
    go,
    link_to,
    page_query,
    widget_key,
)
from totes.dashboard.preferences import local, preferences

CUSTOM = "custom"
"""The option of the period for days that no preset has."""

ICONS = {
    "overview": ":material/home:",
    "sales": ":material/sell:",
    "purchases": ":material/shopping_cart:",
    "payments": ":material/payments:",
    "changes": ":material/difference:",
    "history": ":material/search:",
    "explore": ":material/query_stats:",
    "report": ":material/summarize:",
    "alerts": ":material/notifications:",
    "pipeline": ":material/conversion_path:",
    "dictionary": ":material/menu_book:",
}

FILTER_HELP = {
    "currencies": "The currency of the order or payment.",
    "countries": (
        "Delivery country of sales; for purchases and payments, the country of the "
        "counterparty's legal address."
    ),
    "departments": (
        "Department of the member of staff who made the order; for payments, the order that "
        "they belong to."
    ),
}
"""What a filter compares with, where that differs between the numbers of a page."""

FIRST_DAY, LAST_DAY = ALL_DAYS


def navigation(query: Query) -> None:
    """Show links to all pages that keep the filter, also when opened in another tab."""
    for page, title in PAGES.items():
        link_to(page, title, query, ICONS[page])


def controls(criteria: Filter, choices: Choices, *, has_comparison: bool) -> None:
    """Show the widgets of a filter; a change of one changes the URL."""
    _period(criteria, choices)
    _multiselect(criteria, choices, "currencies", "Currency", text.plain)
    _countries(criteria, choices)
    _multiselect(criteria, choices, "departments", "Department", text.plain)
    _multiselect(
        criteria,
        choices,
        "counterparties",
        "Counterparty",
        lambda key: f"{text.plain(choices.counterparties.get(key, ''))} (id {key})",
    )
    key = widget_key("in", criteria.reporting)
    st.selectbox(
        "Reporting currency",
        sorted({*choices.reporting, criteria.reporting}),
        key=key,
        on_change=_on_change(lambda now, value: replace(now, reporting=value), "in", key, choices),
        help=(
            "Amounts are converted at the European Central Bank's rate of the day of each order "
            "or payment."
        ),
    )
    if has_comparison:
        _comparison(criteria, choices)
    _as_of(criteria, choices)
    if criteria.is_narrowed or criteria.as_of is not None:
        default = Filter.of(choices)
        st.button(
            "Clear all filters",
            icon=":material/filter_alt_off:",
            on_click=partial(go, replace(default, reporting=criteria.reporting)),
        )


def _period(criteria: Filter, choices: Choices) -> None:
    def change_period(now: Filter, name: str) -> Filter:
        return replace(now, period="") if name == CUSTOM else now.in_period(name, choices)

    key = widget_key("period", criteria.period or CUSTOM)
    st.selectbox(
        "Period",
        [*offered_periods(criteria.period), CUSTOM],
        format_func=lambda name: PRESET_LABELS.get(name, "Custom"),
        key=key,
        on_change=_on_change(change_period, "period", key, choices),
    )
    for name, label, change in zip(
        ("from", "to"),
        ("From", "To"),
        (
            lambda now, day: now.within(day, max(day, now.until)),
            lambda now, day: now.within(min(day, now.since), day),
        ),
        strict=True,
    ):
        key = widget_key(name, criteria.since if name == "from" else criteria.until)
        st.date_input(
            label,
            key=key,
            format="YYYY-MM-DD",
            min_value=FIRST_DAY,
            max_value=LAST_DAY,
            on_change=_on_change(change, name, key, choices),
        )


def _multiselect(
    criteria: Filter, choices: Choices, name: str, label: str, shown: Callable[[Any], str]
) -> None:
    def change(now: Filter, values: list[Any]) -> Filter:
        narrowed: dict[str, Any] = {name: tuple(values)}
        return replace(now, **narrowed)

    options, values = getattr(choices, name), getattr(criteria, name)
    _multiselect_widget(
        options, values, choices, name=name, label=label, shown=shown, change=change
    )


def _countries(criteria: Filter, choices: Choices) -> None:
    """Offer each country once, with all of its names."""
    countries = choices.each_country

    def change(now: Filter, values: list[str]) -> Filter:
        return replace(now, countries=tuple(name for one in values for name in countries[one]))

    _multiselect_widget(
        countries,
        criteria.each_country,
        choices,
        name="countries",
        label="Country",
        shown=lambda one: " / ".join(map(text.plain, countries.get(one, (one,)))),
        change=change,
    )


def _multiselect_widget(  # noqa: PLR0913  the parts of a widget
    options: Iterable[Any],
    values: Iterable[Any],
    choices: Choices,
    *,
    name: str,
    label: str,
    shown: Callable[[Any], str],
    change: Callable[[Filter, list[Any]], Filter],
) -> None:
    key = widget_key(name, list(values))
    st.multiselect(
        label,
        sorted(options, key=lambda one: shown(one).lower()),
        key=key,
        format_func=shown,
        placeholder="All",
        help=FILTER_HELP.get(name),
        on_change=_on_change(change, name, key, choices),
    )


def _comparison(criteria: Filter, choices: Choices) -> None:
    offered = choices.comparisons
    key = widget_key("compare", criteria.compare or offered[0])
    st.selectbox(
        "Compare with",
        list(dict.fromkeys([*offered, *([criteria.compare] if criteria.compare else [])])),
        format_func=COMPARISONS.__getitem__,
        key=key,
        on_change=_on_change(
            lambda now, name: replace(now, compare="" if name == offered[0] else name),
            "compare",
            key,
            choices,
        ),
        help="Working days are Monday to Friday; public holidays count.",
    )


def _as_of(criteria: Filter, choices: Choices) -> None:
    moment = criteria.as_of  # to the microsecond; the widget shows minutes
    key = widget_key(
        "as_of", moment and local(moment).replace(second=0, microsecond=0, tzinfo=None)
    )
    last = choices.now and local(choices.now).date()
    begins = choices.history_begins
    since = f" History begins at {text.moment(begins)}." if begins else ""
    st.datetime_input(
        f"Time machine: as of ({text.time_zone()})",
        value=None,  # the default, this moment in the server's zone, may be after max_value
        key=key,
        format="YYYY-MM-DD",
        step=60,
        # in the zone that the label names
        min_value=datetime.combine(FIRST_DAY, time.min),
        max_value=datetime.combine(last or LAST_DAY, time.max),
        on_change=_on_change(
            lambda now, at: replace(now, as_of=at and at.replace(tzinfo=preferences().time_zone)),
            "as_of",
            key,
            choices,
        ),
        help=f"Shows all pages with the data of a past moment. Empty: current data.{since}",
    )


def _on_change(
    change: Callable[[Filter, Any], Filter], name: str, key: str, choices: Choices
) -> Callable[[], None]:
    """Return a callback that puts the widget's value into the filter, and that into the URL."""

    def on_change() -> None:
        changed, value = changed_value(name, key)
        if changed and (value is not None or name == "as_of"):
            now, _ = Filter.from_query(page_query(), choices)
            go(change(now, value))

    return on_change
