"""What the pages of sales and purchases share: orders by period, by dimension, and one by one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import pandas as pd
import streamlit as st

from totes.dashboard import charts, text
from totes.dashboard.components import drill, tables, totals
from totes.dashboard.components.money import rates_note
from totes.dashboard.components.rows import RANKED_LIMIT, rows
from totes.dashboard.metrics import Total
from totes.dashboard.metrics.definitions import METRICS
from totes.dashboard.navigation import click_filters
from totes.dashboard.navigation.links import PARTIES, link_to_record
from totes.dashboard.navigation.view import View, in_url


@dataclass(frozen=True)
class OrderPage:
    """What differs between the two pages.

    `source` is metrics.sales or metrics.purchases, `kind` that of its records. `units` is the name
    of the column with the number of units. `dimensions` and `row_columns` are headings by name.
    """

    title: str
    source: ModuleType
    kind: str
    row_title: str
    units: str
    dimensions: Mapping[str, str]
    row_columns: Mapping[str, str]

    @property
    def key(self) -> str:
        """The part of keys and file names."""
        return self.title.lower()


def show_orders(
    page: View,
    orders: OrderPage,
    cards: Callable[[View], Total],
    *sections: Callable[[View], None],
) -> None:
    """Draw the page: `cards` returns the total, `sections` are above the single orders."""
    st.title(orders.title)
    drill.breadcrumbs(page)
    st.caption(totals.periods(page))
    rates_note(page)
    with totals.cards(orders.key):
        total = cards(page)
    _over_time(page, orders, total)
    _by_dimension(page, orders, total)
    for section in sections:
        section(page)
    rows(
        page,
        orders.kind,
        orders.row_title,
        orders.source.rows,
        orders.row_columns,
        open_at=page.criteria.days == 1,
    )


def _over_time(page: View, orders: OrderPage, total: Total) -> None:
    criteria, label = page.criteria, METRICS[total.metric].label
    st.header(f"{label}, {text.period(criteria.since, criteria.until)}")
    grain = drill.grain_switch(page)
    series = drill.compare(
        page,
        orders.source.over_time(page.reading, criteria, grain),
        lambda earlier: orders.source.over_time(page.reading, earlier, grain),
        ["value"],
    )
    tooltips = {"orders": "Orders", orders.units: orders.units.capitalize()}
    alt_text = drill.bars(page, series, "value", label, grain, tooltips=tooltips)
    with st.expander("As a table"):
        tables.table(
            series,
            {"start": f"{grain.capitalize()} from", **_headings(page, orders, label)},
            key=f"{orders.key}-series",
            file_name=f"totes-{orders.key}_{page.file_name}",
            alt=alt_text,
        )


def _headings(page: View, orders: OrderPage, label: str) -> dict[str, str]:
    """Return the headings of sums."""
    return {
        "value": f"{label}, {page.currency}",
        "value_before": f"Previous period, {page.currency}",
        "orders": "Orders",
        orders.units: orders.units.capitalize(),
        "average_price": f"Average price, {page.currency}",
        "unconverted": "Not converted",
    }


def _by_dimension(page: View, orders: OrderPage, total: Total) -> None:
    label = METRICS[total.metric].label
    st.header(f"{label} breakdown")
    headings = list(orders.dimensions.values())
    tabs = st.tabs(headings, **in_url("tab", headings, headings[0]))
    for tab, (name, heading) in zip(tabs, orders.dimensions.items(), strict=True):
        if tab.open:  # only the open tab is queried
            with tab:
                _dimension(page, orders, total, name, heading)


def _dimension(page: View, orders: OrderPage, total: Total, name: str, heading: str) -> None:
    """Show the members of a dimension as bars, countries also as a map, and as a table."""
    label = METRICS[total.metric].label
    frame = orders.source.by(page.reading, page.criteria, name, limit=RANKED_LIMIT)
    if frame.empty:
        st.text("No orders in this period.")
        return
    if len(frame) == RANKED_LIMIT:
        st.caption(f"Top {RANKED_LIMIT:,} by amount.")
    beside_map = st.container()
    if name == "country":
        frame = charts.by_country(frame)
        left, beside_map = st.columns([3, 2])
        with left:
            click_filters.world_map(page, frame, label, f"{orders.key}-map")
            st.caption(click_filters.HINT)
    with beside_map:
        alt_text = click_filters.ranked(
            page,
            _with_others(frame, total),
            label,
            name,
            f"{orders.key}-by-{name}",
            tooltips={"orders": "Orders"},
        )
    columns = {"name": heading, "share": "Share, %", **_headings(page, orders, label)}
    if "own_value" in frame.columns:
        columns["own_value"] = f"{label} (order currency)"
    selected = tables.table(
        frame.assign(share=[share and share * 100 for share in frame["share"]]),
        columns,
        key=f"{orders.key}-table-{name}",
        file_name=f"totes-{orders.key}-by-{name}_{page.file_name}",
        alt=alt_text,
        selectable=name in PARTIES,
    )
    if selected is not None:
        link_to_record(page.criteria, name, int(frame["key"].iloc[selected]))


def _with_others(frame: tables.Frame, total: Total) -> tables.Frame:
    """Return the rows, and one with the sum of the others if the limit cut them off."""
    if len(frame) < RANKED_LIMIT:
        return frame
    shown = charts.sum_known(frame["value"])
    others = {
        "name": "others",
        "value": None if total.value is None or shown is None else total.value - shown,
        "orders": total.count - frame["orders"].sum(),
    }
    return pd.concat([frame, pd.DataFrame([others]).astype(object)], ignore_index=True)
