"""One order or payment, what belongs to it, and how it is found."""

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

import pandas as pd

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.reading import Reading

FOUND = 10
"""How many records of each kind a search finds."""


@dataclass(frozen=True)
class Record:
    """The last version of an order or payment; `value` is its amount in the reporting currency.

    `due` is the day of a payment, or the day that an order is to be paid. `deleted_at` is the time
    of the capture that found it deleted.
    """

    kind: str
    key: int
    created_date: date
    created_time: time
    counterparty_id: int
    counterparty: str
    staff_id: int | None
    staff: str | None
    amount: Decimal
    currency: str
    value: Decimal | None
    due: date
    paid: bool | None
    payment_type: str | None
    agreed_delivery_date: date | None
    transaction_id: int | None
    deleted_at: datetime | None


def last_version(reading: Reading, kind: str, key: int, reporting: str) -> Record | None:
    """Return the last version of a record; None if none was ever accepted."""
    versions = reading.rows(
        "record", Filter(*ALL_DAYS, reporting=reporting), record_kind=kind, record_key=key
    )
    return Record(*versions[0]) if versions else None


def linked(reading: Reading, kind: str, key: int) -> pd.DataFrame:
    """Return the orders and payments of the same transactions, in their last versions.

    Columns: kind, key, transaction_id, payment_type, amount, currency, due, paid, deleted_at.
    """
    return reading.run("linked_records", record_kind=kind, record_key=key)


def search(reading: Reading, search_text: str) -> pd.DataFrame:
    """Return what has an id, or a name that contains a text: see search.sql.

    Columns: kind, key, counterparty, details, amount, currency, created_date, deleted_at, has_id.
    There are at most FOUND rows of each kind.
    """
    return reading.run("search", search=search_text.strip(), row_limit=FOUND)


def parties(reading: Reading, kind: str) -> dict[int, tuple[str, str]]:
    """Return name and country of each counterparty, or name and department of each `staff`."""
    rows = reading.rows("parties", record_kind=kind)
    return {key: (name, details) for key, name, details in rows}


def payment_state(due: date, today: date, *, paid: bool) -> str:
    """Return `paid`, `open`, or, if it was due before today, `overdue`."""
    if paid:
        return "paid"
    return "overdue" if due < today else "open"
