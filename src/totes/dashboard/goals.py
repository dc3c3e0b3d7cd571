"""The progress of goals: a target of a metric for the current week, month, quarter or year."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from totes.dashboard.config_file import Goal
from totes.dashboard.filters import PRESETS, Filter
from totes.dashboard.metrics import definitions, periods
from totes.dashboard.metrics.definitions import METRICS, Metric
from totes.dashboard.preferences import preferences
from totes.dashboard.reading import Reading


@dataclass(frozen=True)
class Progress:
    """A goal's period until today: the value so far, and the working days passed.

    `value` is None if no row can be converted.
    """

    metric: Metric
    target: Decimal
    currency: str
    whole: Filter
    passed: Filter
    value: Decimal | None

    @property
    def at_this_pace(self) -> Decimal | None:
        """The amount at the end of the period if each working day brings as much as those passed.

        None for a number, and before the first working day.
        """
        if self.metric.unit != "money" or self.value is None or not self.passed.working_days:
            return None
        return self.value * self.whole.working_days / self.passed.working_days

    @property
    def share(self) -> Decimal:
        """The part of the target that is reached; 0 if the value is unknown."""
        return (self.value or Decimal()) / self.target


def progress(reading: Reading, goal: Goal, as_of: datetime | None) -> Progress:
    """Return the progress of a goal in the period that contains today, or the day of `as_of`."""
    metric = METRICS[goal.metric]
    today = periods.days(reading, as_of).today
    since, until = _period(today, goal.per)
    whole = Filter(since, until, as_of=as_of, reporting=goal.reporting or preferences().currency)
    passed = replace(whole, until=today)
    value = definitions.value(reading, passed, metric)
    value = None if value is None else Decimal(value)
    return Progress(metric, goal.target, whole.reporting, whole, passed, value)


def _period(day: date, per: str) -> tuple[date, date]:
    """Return the first and the last day of the week, month, quarter or fiscal year of a day."""
    if per == "week":
        since = day - timedelta(days=day.weekday())
        return since, since + timedelta(days=6)
    if per == "year":
        since = PRESETS["this-fiscal-year"](day, day).since
        return since, since.replace(year=since.year + 1) - timedelta(days=1)
    months = {"month": 1, "quarter": 3}[per]
    first = (day.month - 1) // months * months
    since = date(day.year, first + 1, 1)
    after = date(day.year + (first + months) // 12, (first + months) % 12 + 1, 1)
    return since, after - timedelta(days=1)
