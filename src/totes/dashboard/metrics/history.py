"""How an order or a payment came to be what it is: the only questions that look at history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pandas as pd

from totes.dashboard.metrics.named import names, namesakes
from totes.dashboard.reading import Reading

KINDS = ("sales_order", "purchase_order", "payment")

_NOT_TOLD = frozenset({"valid_from", "valid_to"})

_LOOKED_AT = 8
"""So many times as many ended versions are looked at for what changed last, as some are of one."""


@dataclass(frozen=True)
class Version:
    """A state of the row, true from `valid_from` on; `changed` are columns it differs in."""

    valid_from: datetime
    valid_to: datetime | None
    values: Mapping[str, Any]
    changed: frozenset[str]


@dataclass(frozen=True)
class WaitingVersion:
    """A state of the row that was refused and waits in quarantine."""

    valid_from: datetime
    column: str | None
    value: str | None
    reason: str

    def __str__(self) -> str:
        where = f"{self.column} " if self.column else ""
        value = f" ({self.value})" if self.value is not None else ""
        seen = f"{self.valid_from:%Y-%m-%d %H:%M:%S} UTC"
        return f"A version seen at {seen} waits in quarantine: {where}{self.reason}{value}."


@dataclass(frozen=True)
class History:
    """All that is known of one row; without versions where nothing ever had that key.

    `deleted_at` is when it was seen to be gone, where it is.
    """

    kind: str
    key: int
    versions: tuple[Version, ...]
    deleted_at: datetime | None
    waiting: tuple[WaitingVersion, ...]


def begins(reading: Reading) -> datetime | None:
    """The first capture; None before it."""
    [(moment,)] = reading.rows("begins")
    assert moment is None or isinstance(moment, datetime)  # noqa: S101  for mypy
    return moment


def versions(reading: Reading, kind: str, key: int) -> History:
    """The row of a kind (one of KINDS) with that key."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind}")
    found = reading.run(f"versions_of_{kind}", names(), key=key, **namesakes(reading))
    told = tuple(compared(found.to_dict("records")))
    waiting = reading.rows("waiting_versions", fact=f"fact_{kind}", key=str(key))
    return History(
        kind=kind,
        key=key,
        versions=told,
        deleted_at=told[-1].valid_to if told else None,
        waiting=tuple(WaitingVersion(*row) for row in waiting),
    )


def compared(rows: Sequence[Mapping[Any, Any]]) -> list[Version]:
    """Versions in their order, each with what it has other than the one before."""
    told: list[Version] = []
    earlier: dict[str, Any] = {}
    for row in rows:
        values = {str(name): _value(value) for name, value in row.items() if name not in _NOT_TOLD}
        before = earlier or values
        told.append(
            Version(
                valid_from=_value(row["valid_from"]),
                valid_to=_value(row["valid_to"]),
                values=MappingProxyType(values),
                changed=frozenset(name for name in values if values[name] != before[name]),
            )
        )
        earlier = values
    return told


def _value(value: Any) -> Any:
    """Python's own: pandas has others of moments, and of what is missing."""
    if value is None or value is pd.NaT or value != value:  # noqa: PLR0124  not a number
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def recent(reading: Reading, limit: int = 50) -> pd.DataFrame:
    """What was changed or deleted last: kind, key, versions, changed_at, deleted."""
    return reading.run("recent", limit=limit, looked_at=limit * _LOOKED_AT)
