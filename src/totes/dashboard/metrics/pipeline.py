"""Whether the warehouse can be trusted: how fresh it is, what came when, what waits."""

from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from totes.dashboard.metrics import lines
from totes.dashboard.reading import Reading


@dataclass(frozen=True)
class Freshness:
    """The warehouse shows totesys as of `data_to`; nothing newer was there at `checked_at`.

    `verified_at` is when it was last compared, `verified_equal` what came of it; None if never.
    """

    now: datetime
    data_to: datetime | None
    checked_at: datetime | None
    verified_at: datetime | None
    verified_equal: bool | None

    @property
    def lag_seconds(self) -> float | None:
        """How long ago the warehouse was known to hold everything; None before the first batch."""
        if self.checked_at is None:
            return None
        return max((self.now - self.checked_at).total_seconds(), 0.0)


@dataclass(frozen=True)
class RatesAge:
    """How far the rates reach; all None where there are none.

    `newest` is the newest day with a rate of its own, which was read at `source`; the days after
    it, up to `through`, have that carried forward.
    """

    newest: date | None
    through: date | None
    source: str | None


def rates_age(reading: Reading, as_of: datetime | None = None) -> RatesAge:
    """How old the rates are that amounts are converted at, now or as of a moment."""
    parts = {"rates": lines.known_rates(as_of)}
    values = {"known_at": lines.rates_known_at(reading, as_of)}
    return RatesAge(**reading.row("rates_age", parts, **values))


def freshness(reading: Reading) -> Freshness:
    """How current the warehouse is, at the time of this reading."""
    [row] = reading.rows("freshness")
    return Freshness(reading.now, *row)


def batches(reading: Reading, limit: int = 200) -> pd.DataFrame:
    """The newest first: batch, captured_at, loaded_at, rows, lag_seconds (of two clocks)."""
    return reading.run("batches", limit=limit)


def quarantine(reading: Reading) -> pd.DataFrame:
    """What waits: star_table, column_name, reason, rows, since."""
    return reading.run("quarantine")


def quarantine_rows(reading: Reading, limit: int = 1000) -> pd.DataFrame:
    """The newest first: batch, star_table, key, column_name, value, reason, valid_from."""
    return reading.run("quarantine_rows", limit=limit)


def deleted_dimension_rows(reading: Reading) -> pd.DataFrame:
    """Rows that totesys has deleted and the star keeps: table_name, key, deleted_at, batch."""
    return reading.run("deleted_dimension_rows")
