"""Changes of orders and payments: what changed, when, for whom, and the change in value."""

import streamlit as st

from totes.dashboard import text
from totes.dashboard.components import totals
from totes.dashboard.components.changes_table import SILENT, changes_table, heading
from totes.dashboard.components.money import rates_note
from totes.dashboard.metrics import changes, versions
from totes.dashboard.navigation.links import KINDS
from totes.dashboard.navigation.view import View, in_url, view

ALL = "all"

LABELS = {ALL: "All"} | {kind: f"{label}s" for kind, label in KINDS.items()}


def show(page: View) -> None:
    """Draw the totals of the changes that the period's captures found, and each changed value."""
    st.title("Changes")
    criteria = changes.captured_in(page.reading, page.criteria)
    begins = versions.begins(page.reading)
    st.caption(
        f"Changes of orders and payments captured {text.period(criteria.since, criteria.until)}. "
        f"{SILENT} Programs that read by last_updated miss such changes. History begins at "
        f"{text.moment(begins)} (first capture)."
    )
    rates_note(page)
    selection = _selection()
    by_kind = changes.summary(page.reading, criteria, selection)
    _totals(page, [each for kind, each in by_kind.items() if selection.kind in {None, kind}])
    changes_table(
        page,
        criteria,
        selection,
        key="changes",
        alt="Changed values of orders and payments, the newest first.",
    )


def _selection() -> changes.Selection:
    """Show the filters of the page; return the changes that they select."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox(
            "Type",
            list(LABELS),
            format_func=LABELS.__getitem__,
            width=220,
            **in_url("kind", list(LABELS), ALL),
        )
        kinds = [kind] if kind in KINDS else list(KINDS)
        columns = [ALL, *dict.fromkeys(one for each in kinds for one in changes.COLUMNS[each])]
        column = st.selectbox(
            "Column",
            columns,
            format_func=lambda one: "All" if one == ALL else heading(one),
            width=220,
            **in_url("column", columns, ALL),
        )
        only_silent = st.toggle(
            "Silent changes only",
            help=SILENT,
            **in_url("silent", [True], default=False),
        )
    return changes.Selection(
        kind=None if kind == ALL else kind,
        column=None if column == ALL else column,
        only_silent=only_silent,
    )


def _totals(page: View, counts: list[changes.Changes]) -> None:
    total, silent, deleted = (
        sum(getattr(each, name) for each in counts) for name in ("changes", "silent", "deleted")
    )
    with totals.cards("changes", across=3):
        st.metric(
            "Changes",
            f"{total:,}",
            border=True,
            height="stretch",
            help="New versions of orders and payments, and deletions. A change may have several "
            "changed values.",
        )
        st.metric(
            "Silent changes",
            f"{silent:,}",
            f"{100 * silent / total:.1f} % of all" if total else None,
            delta_arrow="off",
            delta_color="off",
            help=SILENT,
            border=True,
            height="stretch",
        )
        st.metric(
            "Records changed",
            f"{sum(each.records for each in counts):,}",
            f"{deleted:,} deleted",
            delta_arrow="off",
            delta_color="off",
            help="Orders and payments with at least one change.",
            border=True,
            height="stretch",
        )
    with totals.cards("changes-value", across=3):
        for each in counts:
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.metric(
                    f"{KINDS[each.kind]}s: change in value",
                    text.money(each.value_change, page.currency),
                    f"{text.money(each.silent_value_change, page.currency)} silently",
                    delta_arrow="off",
                    delta_color="off",
                    help="The amounts after the changes less those before. After its deletion, a "
                    "record has the amount 0.",
                )
                if each.unconverted:
                    rows = text.count(each.unconverted, "change")
                    st.caption(text.unconverted(rows))


show(view())
