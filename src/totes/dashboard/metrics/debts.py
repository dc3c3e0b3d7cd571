"""Receivables and payables over time, computed from the history of payments."""

from datetime import UTC, date, datetime, time, timedelta

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import grain, periods
from totes.dashboard.reading import Reading

MAX_TREND_DAYS = grain.DAILY_UP_TO
"""A trend reads each change since the beginning of the period, which takes too long if longer."""

SHORT, STEPS = timedelta(days=2), 24
"""Trends of less than `SHORT` have `STEPS` equal steps instead of days."""

COLUMNS = ("at", "receivable", "payable", "unconverted")


def over_time(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return open amounts at several moments: at, receivable, payable, unconverted.

    The moments are the beginning of the period or, if that is later, the first capture; each
    midnight since; and now. Periods of less than two days have equal steps. There are no rows if
    the period begins more than `MAX_TREND_DAYS` days ago. All amounts are at the current rates.
    """
    moments = _moments(reading, criteria)
    if not moments:
        return pd.DataFrame(columns=list(COLUMNS))
    calendar = periods.days(reading, criteria.as_of)
    debts = reading.run("debts_over_time", criteria, moments=moments)
    return debts.assign(at=[*moments, criteria.as_of or calendar.now])


def has_begun(reading: Reading, criteria: Filter) -> bool:
    """Return whether the period begins before the last capture; simulated days may be later."""
    calendar = periods.days(reading, criteria.as_of)
    return _midnight(criteria.since) <= (criteria.as_of or calendar.now)


def _moments(reading: Reading, criteria: Filter) -> list[datetime]:
    """Return the moments except the last, which is now."""
    calendar = periods.days(reading, criteria.as_of)
    now = criteria.as_of or calendar.now
    begins = calendar.history_begins
    if begins is None or not has_begun(reading, criteria):
        return []
    first = max(_midnight(criteria.since), begins)
    if first >= now or (now.date() - first.date()).days > MAX_TREND_DAYS:
        return []
    if now - first < SHORT:
        return [first + (now - first) / STEPS * step for step in range(STEPS)]
    days = (_midnight(first.date() + timedelta(days=day)) for day in range(1, MAX_TREND_DAYS + 1))
    return [first, *(at for at in days if at < now)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
