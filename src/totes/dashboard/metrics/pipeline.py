"""The state of the pipeline: freshness, batches, quarantine, exchange rates."""

from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from totes.dashboard.bookkeeping import Bookkeeping
from totes.dashboard.reading import Reading
from totes.operations.status import Freshness, Verification


@dataclass(frozen=True)
class PageFreshness(Freshness):
    """The freshness, and the number of rows whose current version is in quarantine."""

    quarantined: int


@dataclass(frozen=True)
class RatesAge:
    """The newest exchange rates; all None if there are none.

    `newest` is the last day with a published rate, from `source`; the days after it, up to
    `through`, have the same rate.
    """

    newest: date | None
    through: date | None
    source: str | None


def rates_age(reading: Reading, as_of: datetime | None = None) -> RatesAge:
    """Return the newest exchange rates, now or as of a moment."""
    return RatesAge(**reading.row("rates_age", as_of=as_of))


def freshness(bookkeeping: Bookkeeping) -> PageFreshness:
    """Return how current the warehouse is, now."""
    [(now, data_to, checked_at, verified_at, batch, equal, quarantined)] = bookkeeping.rows(
        "freshness"
    )
    verified = Verification(verified_at, batch, equal) if verified_at else None
    return PageFreshness(now, data_to, checked_at, verified, quarantined)


def batches(bookkeeping: Bookkeeping, limit: int = 200) -> pd.DataFrame:
    """Return batch, captured_at, loaded_at, rows, lag_seconds (by two clocks), newest first."""
    return bookkeeping.run("batches", limit=limit)


def gaps(bookkeeping: Bookkeeping, limit: int = 20) -> pd.DataFrame:
    """Return batches before which versions may be missing, newest first: batch, time, reason."""
    return bookkeeping.run("gaps", limit=limit)


def quarantine(reading: Reading) -> pd.DataFrame:
    """Return counts of rows in quarantine: star_table, column_name, reason, rows, since."""
    return reading.run("quarantine")


def quarantine_rows(reading: Reading, limit: int = 1000) -> pd.DataFrame:
    """Return rows in quarantine, newest first.

    Columns: batch, star_table, key, column_name, value, reason, valid_from.
    """
    return reading.run("quarantine_rows", row_limit=limit)


def deleted_dimension_rows(bookkeeping: Bookkeeping) -> pd.DataFrame:
    """Return dimension rows deleted in totesys: table_name, key, deleted_at, batch."""
    return bookkeeping.run("deleted_dimension_rows")


def alerts(bookkeeping: Bookkeeping) -> pd.DataFrame:
    """Return the alert rules: rule, condition, state, value, since, checked_at; alerts first."""
    return bookkeeping.run("alerts")
