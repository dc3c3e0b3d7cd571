"""All versions of single orders and payments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pandas as pd

from totes.dashboard import text
from totes.dashboard.reading import Reading

KINDS = ("sales_order", "purchase_order", "payment")

_NOT_COMPARED = frozenset({"valid_from", "valid_to"})


@dataclass(frozen=True)
class Version:
    """A version of a row; `changed` are the columns that differ from the previous version."""

    valid_from: datetime
    valid_to: datetime | None
    values: Mapping[str, Any]
    changed: frozenset[str]


@dataclass(frozen=True)
class QuarantinedVersion:
    """A version of a row in quarantine, with the rejected value and the reason."""

    valid_from: datetime
    column: str | None
    value: str | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.column} " if self.column else ""
        value = f" ({self.value})" if self.value is not None else ""
        captured = text.moment(self.valid_from)
        return f"In quarantine: version captured at {captured}, {where}{self.reason}{value}."


@dataclass(frozen=True)
class History:
    """The versions of one row, none if the key was never captured.

    `deleted_at` is the time of the capture that found the row deleted, if it is.
    """

    kind: str
    key: int
    versions: tuple[Version, ...]
    deleted_at: datetime | None
    quarantined: tuple[QuarantinedVersion, ...]


def begins(reading: Reading) -> datetime | None:
    """Return the time of the first capture; None before it."""
    return reading.state.history_begins


def history(reading: Reading, kind: str, key: int) -> History:
    """Return the history of the row of a kind (one of KINDS) with that key."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind: {kind}")
    rows = reading.run(f"versions_of_{kind}", key=key)
    all_versions = tuple(with_changes(rows.to_dict("records")))
    quarantined = reading.rows("quarantined_versions", fact=f"fact_{kind}", key=key)
    return History(
        kind=kind,
        key=key,
        versions=all_versions,
        deleted_at=all_versions[-1].valid_to if all_versions else None,
        quarantined=tuple(QuarantinedVersion(*row) for row in quarantined),
    )


def with_changes(rows: Sequence[Mapping[Any, Any]]) -> list[Version]:
    """Return versions in order, each with the columns that differ from the previous one."""
    versions: list[Version] = []
    earlier: dict[str, Any] = {}
    for row in rows:
        values = {
            str(name): _value(value) for name, value in row.items() if name not in _NOT_COMPARED
        }
        before = earlier or values
        versions.append(
            Version(
                valid_from=_value(row["valid_from"]),
                valid_to=_value(row["valid_to"]),
                values=MappingProxyType(values),
                changed=frozenset(name for name in values if values[name] != before[name]),
            )
        )
        earlier = values
    return versions


def _value(value: Any) -> Any:
    """Return Python's types for those of pandas: datetime for Timestamp, None if missing."""
    if value is None or value is pd.NaT or value != value:  # noqa: PLR0124  not a number
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
