"""How an order or a payment came to be what it is, version by version."""

import re
from datetime import datetime, time
from decimal import Decimal

import pandas as pd
import streamlit as st

from totes.dashboard import tables, text
from totes.dashboard.metrics import history
from totes.dashboard.view import View, asked, choice, go, link, slot, view

KINDS = {
    "sales_order": "Sales order",
    "purchase_order": "Purchase order",
    "payment": "Payment",
}

MOST_KEY = 2**31 - 1

_KEY = re.compile(r"[0-9]{1,10}")


def show(page: View) -> None:
    """Draw all versions of one order or payment, or let the reader choose one."""
    st.title("History")
    begins = history.begins(page.reading)
    st.caption(
        f"History begins at {text.moment(begins)}, with the first capture. A moment here is when "
        "the platform saw a change; what came and went between two looks was never seen."
    )
    kind, key = _asked()
    _choose(page, kind, key)
    if key is not None:
        _versions(page, kind, key)
    st.divider()
    _recent(page, kind, key)


def _asked() -> tuple[str, int | None]:
    """What the URL names; anything that can't be meant is as if it were not there."""
    query = asked()
    kind, key = query.get("kind", ""), query.get("key", "")
    number = int(key) if isinstance(key, str) and _KEY.fullmatch(key) else None
    if number is not None and number > MOST_KEY:
        number = None
    return (kind if isinstance(kind, str) and kind in KINDS else "sales_order"), number


def _choose(page: View, kind: str, key: int | None) -> None:
    keys = {"kind": slot("history-kind", kind), "key": slot("history-key", key)}

    def changed(name: str) -> None:
        chose, value = choice(f"history-{name}", keys[name])
        if chose and (value is not None or name == "key"):
            go(page.chosen, **{name: "" if value is None else str(value)})

    left, right = st.columns(2)
    with left:
        st.selectbox(
            "What",
            list(KINDS),
            format_func=KINDS.__getitem__,
            key=keys["kind"],
            on_change=changed,
            args=["kind"],
        )
    with right:
        st.number_input(
            "Its id in totesys",
            min_value=0,
            max_value=MOST_KEY,
            value=None,
            step=1,
            key=keys["key"],
            on_change=changed,
            args=["key"],
            placeholder="such as 1234",
        )


def _versions(page: View, kind: str, key: int) -> None:
    found = history.versions(page.reading, kind, key)
    name = f"{KINDS[kind]} {key}"
    st.subheader(name)
    if not found.versions and not found.waiting:
        st.text(f"There is no {name.lower()}, and the platform has never seen one.")
        return
    st.markdown(_story(name, found))
    for waiting in found.waiting:
        st.text(text.plain(waiting))
    if not found.versions:
        return
    changes = _changes(found)
    tables.table(
        changes,
        {"column": "What changed", "before": "From", "after": "To", "seen": "Seen"},
        key=f"history-changes-{kind}-{key}",
        file_name=f"totes-changes-{kind}-{key}",
        alt=f"Every change of {name.lower()} that was seen.",
        empty="It has never changed since it was first seen.",
    )
    with st.expander("Every version in full", expanded=changes.empty):
        full = _in_full(found)
        tables.table(
            full,
            {column: _words(column) for column in full.columns},
            key=f"history-full-{kind}-{key}",
            file_name=f"totes-versions-{kind}-{key}",
            alt=f"Every version of {name.lower()}; ● marks what differs from the one before.",
            whole=True,
        )
        if len(found.versions) > 1:
            st.caption("● marks what differs from the version before.")
    _time_machine(page, found)


def _story(name: str, found: history.History) -> str:
    count = text.count(len(found.versions), "version")
    first = found.versions[0].valid_from if found.versions else None
    told = f"{count}, first seen at {text.moment(first)}."
    if found.deleted_at is not None:
        return f"{told} **Deleted in totesys**, which was seen at {text.moment(found.deleted_at)}."
    last = found.versions[-1] if found.versions else None
    if last is not None and len(found.versions) > 1:
        return f"{told} As it is now since {text.moment(last.valid_from)}."
    return f"{told} {name} is in totesys now."


def _changes(found: history.History) -> pd.DataFrame:
    """A row for each value that changed, and one for the deletion."""
    made = []
    for before, after in zip(found.versions, found.versions[1:], strict=False):
        made += [
            {
                "seen": text.moment(after.valid_from),
                "column": _words(column),
                "before": _value(before, column),
                "after": _value(after, column),
            }
            for column in _columns(after)
            if column in after.changed
        ]
    if found.deleted_at is not None:
        seen = text.moment(found.deleted_at)
        made.append({"seen": seen, "column": "Deleted", "before": "there", "after": "gone"})
    return pd.DataFrame(made, columns=["seen", "column", "before", "after"])


def _in_full(found: history.History) -> pd.DataFrame:
    """A column of the table for each version, its values below each other."""
    columns = _columns(found.versions[0])
    made: dict[str, list[str]] = {"column": ["Valid from", "Valid to", *map(_words, columns)]}
    for number, version in enumerate(found.versions, 1):
        made[f"version {number}"] = [
            text.moment(version.valid_from),
            "now" if version.valid_to is None else text.moment(version.valid_to),
            *(
                ("● " if number > 1 and column in version.changed else "") + _value(version, column)
                for column in columns
            ),
        ]
    return pd.DataFrame(made)


def _columns(version: history.Version) -> list[str]:
    return list(version.values)


def _value(version: history.Version, column: str) -> str:
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


def _words(column: str) -> str:
    """`agreed_delivery_date` as a heading."""
    return column.replace("_", " ").capitalize()


def _time_machine(page: View, found: history.History) -> None:
    """Any page as it stood when a version was true."""
    moments = [version.valid_from for version in found.versions]
    picked = st.selectbox(
        "See the whole business as it stood then",
        range(len(moments)),
        index=None,
        format_func=lambda number: f"Version {number + 1}, {text.moment(moments[number])}",
        placeholder="Choose a version",
        key=f"history-moment-{found.kind}-{found.key}",
    )
    if picked is not None:
        link(
            "overview",
            f"Overview as of {text.moment(moments[picked])}",
            page.chosen,
            ":material/history:",
            as_of=moments[picked].isoformat(),
        )


def _recent(page: View, kind: str, key: int | None) -> None:
    st.subheader("What changed last")
    found = history.recent(page.reading, limit=50)
    picked = tables.table(
        found.assign(
            what=[KINDS.get(one, one) for one in found["kind"]],
            deleted=["deleted" if deleted else "there" for deleted in found["deleted"]],
        ),
        {
            "what": "What",
            "key": "Its id",
            "versions": "Versions",
            "changed_at": "Last seen to change",
            "deleted": "Now",
        },
        key=f"history-recent-{kind}-{key}",
        file_name="totes-recent-changes",
        alt="The orders and payments that changed last.",
        selectable=True,
        empty="Nothing has changed since the first capture.",
    )
    if picked is None:
        st.caption("Choose a row to see its history.")
        return
    wanted = (str(found["kind"].iloc[picked]), str(found["key"].iloc[picked]))
    go(page.chosen, kind=wanted[0], key=wanted[1])
    st.rerun()


show(view())
