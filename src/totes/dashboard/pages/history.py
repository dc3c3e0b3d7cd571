"""One order or payment with its links and history, and a search for it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Literal

import pandas as pd
import streamlit as st

from totes.dashboard import text
from totes.dashboard.components import tables, totals
from totes.dashboard.components.changes_table import SILENT, changes_table, heading
from totes.dashboard.filters import ALL_DAYS, Filter, ignored, quoted
from totes.dashboard.metrics import changes, periods, records, versions
from totes.dashboard.metrics.records import Record, payment_state
from totes.dashboard.navigation.links import KINDS, link_to_record, name
from totes.dashboard.navigation.view import (
    View,
    changed_value,
    go,
    link,
    url_query,
    view,
    widget_key,
)
from totes.dashboard.server.sign_in import is_operator

MOST_KEY = 2**31 - 1

SHOWN_EVENTS = 50
"""How many events a timeline has."""

PARTY_NAMES = {"sales_order": "Customer", "purchase_order": "Supplier", "payment": "Counterparty"}

CHANGE_COLUMNS = ("captured_at", "column", "before", "after", "mark", "value_change")

COLOURS: Mapping[str, Literal["blue", "orange", "red"]] = {
    "Changed": "blue",
    "Changed silently": "orange",
    "Deleted": "red",
}
"""Colours of the timeline's labels; others are grey."""

_KEY = re.compile(r"[0-9]{1,10}")


def show(page: View) -> None:
    """Draw the search, and the order or payment that the URL names."""
    st.title("Records")
    kind, key = _requested_key()
    if search_text := _search_field(page):
        _matches(page, search_text)
    if key is not None:
        _record(page, kind, key)
    elif not search_text:
        st.text("Search for the id of an order or payment, or for the name of a counterparty.")
        link("changes", "Latest changes", page.criteria, ":material/difference:")


def _requested_key() -> tuple[str, int | None]:
    """Return the kind and key of the URL; invalid values are ignored with a notice."""
    query = url_query()
    kind, key = str(query.get("kind", "")), str(query.get("key", ""))
    if kind and kind not in KINDS:
        st.text(ignored("kind", f"{quoted(kind)} does not exist"))
        kind = ""
    number = int(key) if _KEY.fullmatch(key) else None
    if number is not None and number > MOST_KEY:
        number = None
    if key and number is None:
        st.text(ignored("key", f"{quoted(key)} is not an id such as 1234"))
    return kind or "sales_order", number


def _search_field(page: View) -> str:
    """Return the text that is searched for: the parameter `q` of the URL."""
    search_text = str(url_query().get("q", ""))
    key = widget_key("search", search_text)

    def on_change() -> None:
        changed, value = changed_value("search", key)
        if changed:
            go(page.criteria, q=value)

    st.text_input(
        "Find an order, payment, counterparty or member of staff",
        key=key,
        on_change=on_change,
        max_chars=100,
        placeholder="Id or name, for example 1234",
        icon=":material/search:",
    )
    return search_text.strip()


def _matches(page: View, search_text: str) -> None:
    """Show a link to each record that the search finds."""
    matches = records.search(page.reading, search_text)
    with st.container(border=True):
        if matches.empty:
            st.text(f"Nothing was found for {quoted(search_text)}.")
        for row in matches.to_dict("records"):
            details = [row["counterparty"], row["details"]]
            if not text.is_missing(row["amount"]):
                details += [f"{row['amount']:,} {row['currency']}", text.day(row["created_date"])]
            if not text.is_missing(row["deleted_at"]):
                details.append("deleted")
            _linked_line(page, row["kind"], row["key"], details)
        if matches["kind"].value_counts().max() == records.FOUND:
            st.caption(f"The first {records.FOUND} of each type are shown.")


def _linked_line(page: View, kind: str, key: int, details: Sequence[object]) -> None:
    """Show a link to a record, and texts about it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        link_to_record(page.criteria, kind, key)
        st.text(", ".join(filter(None, map(text.plain, details))), width="content")


def _record(page: View, kind: str, key: int) -> None:
    title = name(kind, key)
    st.header(title)
    record_history = versions.history(page.reading, kind, key)
    last = records.last_version(page.reading, kind, key, page.currency)
    if last is None and not record_history.quarantined:
        st.text(f"{title} was not found, and was never captured.")
        return
    st.markdown(_summary(record_history))
    for version in record_history.quarantined:
        shown = version if is_operator() else replace(version, value=None)
        st.text(text.plain(shown))
    if last is None:
        return
    linked = records.linked(page.reading, kind, key)
    _facts(page, last, linked)
    criteria, selection = (
        Filter(*ALL_DAYS, reporting=page.currency),
        changes.Selection(kind=kind, key=key),
    )
    st.header("Timeline")
    _timeline(record_history, last, changes.rows(page.reading, criteria, selection))
    st.header("Changes")
    changes_table(
        page,
        criteria,
        selection,
        key=f"history-changes-{kind}-{key}",
        alt=f"All captured changes of {title.lower()}.",
        columns=CHANGE_COLUMNS,
        empty="No changes since it was first captured.",
    )
    with st.expander("All versions"):
        full = _all_versions(record_history)
        tables.table(
            full,
            {column: heading(column) for column in full.columns},
            key=f"history-full-{kind}-{key}",
            file_name=f"totes-versions-{kind}-{key}",
            alt=f"All versions of {title.lower()}; ● marks values that changed.",
            full_height=True,
        )
        if len(record_history.versions) > 1:
            st.caption("● marks values that differ from the previous version.")
    _time_machine(page, record_history)


def _summary(record_history: versions.History) -> str:
    if not record_history.versions:
        return "No version has been accepted."
    count = text.count(len(record_history.versions), "version")
    summary = f"{count}, first captured at {text.moment(record_history.versions[0].valid_from)}."
    if record_history.deleted_at is not None:
        deleted_at = text.moment(record_history.deleted_at)
        return f"{summary} **Deleted in totesys**, captured at {deleted_at}."
    if len(record_history.versions) > 1:
        return f"{summary} Current since {text.moment(record_history.versions[-1].valid_from)}."
    return summary


def _facts(page: View, last: Record, linked: pd.DataFrame) -> None:
    """Show amount, status, counterparty and staff, and links to what belongs to the record."""
    today = periods.days(page.reading, None).today
    payments = linked[linked["kind"] == "payment"]
    amounts = [("Amount", f"{last.amount:,} {last.currency}", "")]
    if last.currency != page.currency:
        converted = text.money(last.value, page.currency, exact=True)
        amounts.append((f"Amount in {page.currency}", converted, ""))
    shown = [*amounts, _payment_card(last, payments, today), _delivery_card(last, today)]
    with totals.cards("record", across=len(shown)):
        for label, value, note in shown:
            st.metric(
                label,
                value,
                note or None,
                delta_arrow="off",
                delta_color="off",
                border=True,
                height="stretch",
            )
    _linked_line(
        page,
        "counterparty",
        last.counterparty_id,
        [f"{PARTY_NAMES[last.kind]}: {text.plain(last.counterparty)}"],
    )
    if last.staff_id is not None:
        _linked_line(page, "staff", last.staff_id, [f"Staff: {text.plain(last.staff)}"])
    if last.transaction_id is not None:
        st.text(f"Transaction {last.transaction_id}")
    for row in linked.to_dict("records"):
        details = [f"{row['amount']:,} {row['currency']}"]
        if row["kind"] == "payment":
            state = payment_state(row["due"], today, paid=row["paid"])
            details += [
                f"transaction {row['transaction_id']}",
                heading(text.plain(row["payment_type"]).lower()),
                f"{state}, due {text.day(row['due'])}",
            ]
            if last.kind != "payment" and (row["amount"], row["currency"]) != (
                last.amount,
                last.currency,
            ):
                details.append("differs from the order's amount")
        if not text.is_missing(row["deleted_at"]):
            details.append("deleted")
        _linked_line(page, row["kind"], row["key"], details)


def _payment_card(last: Record, payments: pd.DataFrame, today: date) -> tuple[str, str, str]:
    """Return label, value and note: the state of a payment, or of all payments for an order."""
    if last.deleted_at is not None:
        return "Status", "Deleted", f"payment was due {text.day(last.due)}"
    states = {
        payment_state(row["due"], today, paid=row["paid"])
        for row in payments.to_dict("records")
        if text.is_missing(row["deleted_at"])
    }
    due = f"agreed for {text.day(last.due)}"  # its payments can be due on other days
    if last.kind == "payment":
        states = {payment_state(last.due, today, paid=bool(last.paid))}
        due = f"due {text.day(last.due)}"
    worst = next((state for state in ("overdue", "open", "paid") if state in states), "no payment")
    return "Payment", worst.capitalize(), due


def _delivery_card(last: Record, today: date) -> tuple[str, str, str]:
    """Return label, value and note: when an order is to be delivered, a payment was created."""
    if last.agreed_delivery_date is None:
        return "Created", text.day(last.created_date), ""
    days = (last.agreed_delivery_date - today).days
    note = f"in {text.count(days, 'day')}" if days > 0 else f"{text.count(-days, 'day')} ago"
    return "Delivery due", text.day(last.agreed_delivery_date), note if days else "today"


def _timeline(record_history: versions.History, last: Record, changed: pd.DataFrame) -> None:
    """Show what happened to a record, the oldest first, with a mark at silent changes."""
    events = [
        (f"{last.created_date} {last.created_time:%H:%M:%S}", "Created", "time in totesys"),
        (text.moment(record_history.versions[0].valid_from), "First captured", ""),
    ]
    oldest_first = changed.sort_values("captured_at", kind="stable").to_dict("records")
    for at, group in groupby(oldest_first, itemgetter("captured_at")):
        values = list(group)
        if values[0]["column_name"] == "row":
            events.append((text.moment(at), "Deleted", ""))
            continue
        label = "Changed silently" if values[0]["silent"] else "Changed"
        details = "; ".join(
            f"{heading(value['column_name'])}: {text.plain(value['before'])}"
            f" → {text.plain(value['after'])}"
            for value in values
        )
        events.append((text.moment(at), label, details))
    if len(events) > SHOWN_EVENTS:
        st.caption(f"The newest {SHOWN_EVENTS} of {len(events):,} events; all changes are below.")
    with st.container(border=True):
        for at, label, details in events[-SHOWN_EVENTS:]:
            what, beside = st.columns([3, 4], gap="xsmall")
            with what.container(horizontal=True, gap="small"):
                st.text(at, width=190)
                st.badge(label, color=COLOURS.get(label, "gray"))
            if details:
                beside.text(details)
    if changed["silent"].any():
        st.caption(SILENT)


def _all_versions(record_history: versions.History) -> pd.DataFrame:
    """Return a table with a column for each version, and a row for each value."""
    columns = list(record_history.versions[0].values)
    values: dict[str, list[str]] = {"column": ["Valid from", "Valid to", *map(heading, columns)]}
    for number, version in enumerate(record_history.versions, 1):
        values[f"version {number}"] = [
            text.moment(version.valid_from),
            "now" if version.valid_to is None else text.moment(version.valid_to),
            *(
                ("● " if number > 1 and column in version.changed else "") + _value(version, column)
                for column in columns
            ),
        ]
    return pd.DataFrame(values)


def _value(version: versions.Version, column: str) -> str:
    value = version.values.get(column)  # noqa: PD011
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return text.moment(value)
        case time():
            return f"{value:%H:%M:%S}"
        case int() | Decimal() if not column.endswith("_id"):
            return f"{value:,}"
        case _:
            return text.plain(value)


def _time_machine(page: View, record_history: versions.History) -> None:
    """Show links to the overview as of the beginning of a version."""
    moments = [version.valid_from for version in record_history.versions]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        selected = st.selectbox(
            "Time machine: show the dashboard as of a version",
            range(len(moments)),
            index=None,
            format_func=lambda number: f"Version {number + 1}, {text.moment(moments[number])}",
            placeholder="Select a version",
            key=f"history-moment-{record_history.kind}-{record_history.key}",
        )
        if selected is not None:
            link(
                "overview",
                f"Overview as of {text.moment(moments[selected])}",
                page.criteria,
                ":material/history:",
                as_of=moments[selected].isoformat(),
            )


show(view())
