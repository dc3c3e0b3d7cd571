"""The values that filters offer, and the periods that they refer to."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from totes.dashboard.filters import DEFAULT_REPORTING, PER_WORKING_DAY, Choices, Filter
from totes.dashboard.preferences import preferences
from totes.dashboard.reading import Reading

SIMULATED_AFTER = timedelta(days=14)
"""Without orders for longer than this, the last order's day is today: the data is simulated."""


RESTS_BELOW = 0.01
"""A business rests at weekends if less than this share of its orders is made then."""


class Days(NamedTuple):
    """The days that periods refer to, and the first capture."""

    today: date
    first_day: date | None
    history_begins: datetime | None
    now: datetime
    """The later of this machine's clock and the last capture's time."""
    rests_at_weekends: bool


def days(reading: Reading, as_of: datetime | None) -> Days:
    """Return the days of a reading.

    Today is the day of the last capture, or that of the newest order if that is weeks older or in
    the future, as in a simulated business.
    """
    return reading.cached(("days", as_of), lambda: _days(reading, as_of))


def _days(reading: Reading, as_of: datetime | None) -> Days:
    checked_at, begins = reading.state.checked_at, reading.state.history_begins
    [(first_day, newest, at_weekends)] = reading.rows("days", as_of=as_of)
    today = (checked_at or reading.now).astimezone(UTC).date()
    if as_of is not None:
        today = min(today, as_of.astimezone(UTC).date())
    if newest is not None and not timedelta() <= today - newest <= SIMULATED_AFTER:
        today = newest
    now = max(reading.now, checked_at or reading.now)
    return Days(
        today, first_day, begins, now, at_weekends is not None and at_weekends < RESTS_BELOW
    )


PER_DAY = "per working day "

_WEEK_DAYS = 7
"""Shorter periods are not compared per working day: they may have none."""


class Comparison(NamedTuple):
    """The part of a period until today, and the period that it is compared with.

    `scale` times a value of the previous period is comparable with the value of the period.
    """

    passed: Filter
    previous: Filter
    label: str
    scale: Fraction


def comparison(reading: Reading, criteria: Filter) -> Comparison | None:
    """Return what a period is compared with; None if the data does not reach back so far."""
    calendar = days(reading, criteria.as_of)
    until = min(criteria.until, calendar.today)
    if calendar.first_day is None or until < criteria.since:
        return None
    name = criteria.compare or (
        f"previous{PER_WORKING_DAY}" if calendar.rests_at_weekends else "previous"
    )
    passed = criteria.within(criteria.since, until)
    kind = name.removesuffix(PER_WORKING_DAY)
    if kind == "none":
        return None
    if kind == "previous":
        previous = passed.before()
        label = f"vs previous {length_in_words(previous)}"
    else:
        previous, label = passed.year_before(), "vs a year before"
    if previous.since < calendar.first_day:
        return None
    if name == kind or min(passed.days, previous.days) < _WEEK_DAYS:
        return Comparison(passed, previous, label, Fraction(1))
    scale = Fraction(passed.working_days, previous.working_days)
    return Comparison(passed, previous, f"{PER_DAY}{label}", scale)


def length_in_words(criteria: Filter) -> str:
    """Return such as `30 days` or `month`."""
    number, unit = (criteria.months, "month") if criteria.months else (criteria.days, "day")
    return unit if number == 1 else f"{number:,} {unit}s"


def previous_period(reading: Reading, criteria: Filter) -> Filter | None:
    """Return the period that a period is compared with, if there is one."""
    found = comparison(reading, criteria)
    return found and found.previous


def choices(reading: Reading, as_of: datetime | None = None) -> Choices:
    """Return the currencies, countries … of the warehouse, and its first day and today."""
    calendar = days(reading, as_of)
    names: dict[str, list[str]] = {}
    counterparties: dict[int, str] = {}
    for kind, key, name in reading.rows("choices"):
        if kind == "counterparty":
            counterparties[key] = name
        elif name not in names.setdefault(kind, []):
            names[kind].append(name)
    currencies, rates = names.get("currency", []), names.get("rate", [])
    preferred = (preferences().currency, DEFAULT_REPORTING)
    first = [code for code in preferred if code in {*currencies, *rates}]
    return Choices(
        today=calendar.today,
        first_day=min(calendar.first_day or calendar.today, calendar.today),
        currencies=tuple(currencies),
        countries=tuple(names.get("country", ())),
        departments=tuple(names.get("department", ())),
        counterparties=counterparties,
        reporting=tuple(dict.fromkeys([*first, *currencies, *rates])),
        history_begins=calendar.history_begins,
        now=calendar.now,
        rests_at_weekends=calendar.rests_at_weekends,
    )
