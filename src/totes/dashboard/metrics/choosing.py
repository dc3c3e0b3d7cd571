"""What there is to choose from."""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from totes.dashboard.filters import DEFAULT_REPORTING, Choices, Filter
from totes.dashboard.metrics import lines
from totes.dashboard.reading import Reading

OWN_CLOCK = timedelta(days=14)
"""A business without orders for longer has a clock of its own, as a simulated one has."""


class Days(NamedTuple):
    """The days that periods are counted from, and the first capture."""

    today: date
    first_day: date | None
    history_begins: datetime | None
    now: datetime
    """By the clock that is ahead, the warehouse's or that of the capture."""


def days(reading: Reading, as_of: datetime | None) -> Days:
    """Asked once for a reading.

    Today is the day to which the data is known; but that of the newest order where that is weeks
    older, or in the future: then the business has a clock of its own.
    """
    return reading.once(("days", as_of), lambda: _days(reading, as_of))


def _days(reading: Reading, as_of: datetime | None) -> Days:
    anything = Filter(*lines.EVER, as_of=as_of)
    parts = {"sales": lines.all_sales(anything), "purchases": lines.all_purchases(anything)}
    [(known_to, first_day, newest, begins)] = reading.rows("days", parts, as_of=as_of)
    today = (known_to or reading.now).astimezone(UTC).date()
    if as_of is not None:
        today = min(today, as_of.astimezone(UTC).date())
    if newest is not None and not timedelta() <= today - newest <= OWN_CLOCK:
        today = newest
    return Days(today, first_day, begins, max(reading.now, known_to or reading.now))


def compared(reading: Reading, chosen: Filter) -> Filter | None:
    """The equal period before; None where the data doesn't reach back to its first day.

    Of a period that has not ended, it is what is before the part that has passed.
    """
    known = days(reading, chosen.as_of)
    passed = min(chosen.until, known.today)
    if known.first_day is None or passed < chosen.since:
        return None
    earlier = chosen.within(chosen.since, passed).before()
    return earlier if known.first_day <= earlier.since else None


def choices(reading: Reading, as_of: datetime | None = None) -> Choices:
    """Currencies, countries … of the warehouse, and its first and present day."""
    known = days(reading, as_of)
    names: dict[str, list[str]] = {}
    counterparties: dict[int, str] = {}
    for kind, key, name in reading.rows("choices"):
        if kind == "counterparty":
            counterparties[key] = name
        elif name not in names.setdefault(kind, []):
            names[kind].append(name)
    own, rates = names.get("currency", []), names.get("rate", [])
    first = [DEFAULT_REPORTING] if DEFAULT_REPORTING in {*own, *rates} else []
    return Choices(
        today=known.today,
        first_day=min(known.first_day or known.today, known.today),
        currencies=tuple(own),
        countries=tuple(names.get("country", ())),
        departments=tuple(names.get("department", ())),
        counterparties=counterparties,
        reporting=tuple(dict.fromkeys([*first, *own, *rates])),
        history_begins=known.history_begins,
        now=known.now,
    )
