"""What was owed, as time went on: from history, which tells when each debt came and ended."""

from datetime import UTC, date, datetime, time, timedelta

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines
from totes.dashboard.reading import Reading

MOST_DAYS = lines.DAYS
"""Every change since is looked at: of a longer time they are too many to be waited for."""

SHORT, STEPS = timedelta(days=2), 24
"""A line needs more points than that many days have."""

COLUMNS = ("at", "receivable", "payable", "unconverted")


def over_time(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """What others owe us and what we owe: at, receivable, payable, unconverted.

    At the beginning of the period, at the end of each day since, and now; of less than two days in
    steps of equal length. What was before the first capture nobody knows: then it begins with that.
    No rows where it begins more than `MOST_DAYS` ago. All amounts are at the rates known now.
    """
    moments = _moments(reading, chosen)
    if not moments:
        return pd.DataFrame(columns=list(COLUMNS))
    ever = chosen.within(*lines.EVER)
    known = choosing.days(reading, chosen.as_of)
    found = reading.run(
        "debts_over_time",
        lines.debts(ever),
        moments=moments,
        **lines.bound_for_payments(reading, ever),
    )
    return found.assign(at=[*moments, chosen.as_of or known.now])


def has_begun(reading: Reading, chosen: Filter) -> bool:
    """Whether the period has, by the clock of the captures: a simulated business may be ahead."""
    known = choosing.days(reading, chosen.as_of)
    return _midnight(chosen.since) <= (chosen.as_of or known.now)


def _moments(reading: Reading, chosen: Filter) -> list[datetime]:
    """Those before the last, which is now."""
    known = choosing.days(reading, chosen.as_of)
    now = chosen.as_of or known.now
    begins = known.history_begins
    if begins is None or not has_begun(reading, chosen):
        return []
    first = max(_midnight(chosen.since), begins)
    if first >= now or (now.date() - first.date()).days > MOST_DAYS:
        return []
    if now - first < SHORT:
        return [first + (now - first) / STEPS * step for step in range(STEPS)]
    days = (_midnight(first.date() + timedelta(days=day)) for day in range(1, MOST_DAYS + 1))
    return [first, *(at for at in days if at < now)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
