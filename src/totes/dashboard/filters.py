"""What a page is asked for: a period, a choice of what counts, a moment, a currency.

A filter comes from a page's URL, which anybody may write: every value is checked, and what can't
be meant is left out with a notice. Nothing here knows of a web framework or a database.
"""

import calendar
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from totes.dashboard import world

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""The star holds no dates beyond."""

LONGEST_VALUE = 200
"""Characters of a value that is worth looking at."""

MOST_VALUES = 100
"""How many values of one kind a filter may have."""

DEFAULT_PERIOD = "last-30-days"
DEFAULT_REPORTING = "GBP"

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "currency": "currencies",
        "country": "countries",
        "department": "departments",
        "counterparty": "counterparties",
    }
)
"""What a filter calls the choices of what a URL, or a dimension of sums, calls so."""

type Query = Mapping[str, str | Sequence[str]]
"""A URL's query: a value, or the values, of each name."""

_DAY = timedelta(days=1)
_CODE = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ID = re.compile(r"[0-9]{1,10}")
_MOST_ID = 2**31 - 1


class Period(NamedTuple):
    """From its first day to its last, both included."""

    since: date
    until: date


def _month(day: date) -> Period:
    return Period(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))


def _year_before(day: date) -> date:
    """The day after the same day a year ago: the 12 months that end with `day` begin there."""
    last = calendar.monthrange(day.year - 1, day.month)[1]
    return day.replace(year=day.year - 1, day=min(day.day, last)) + _DAY


PRESETS: Mapping[str, Callable[[date, date], Period]] = MappingProxyType(
    {
        "last-30-days": lambda today, _: Period(today - 29 * _DAY, today),
        "this-month": lambda today, _: Period(today.replace(day=1), today),
        "last-month": lambda today, _: _month(today.replace(day=1) - _DAY),
        "this-year": lambda today, _: Period(today.replace(month=1, day=1), today),
        "last-12-months": lambda today, _: Period(_year_before(today), today),
        "all": lambda today, first: Period(min(first, today), today),
    }
)
"""Periods by the name they have in a URL, from today and the first day there is."""

PRESET_LABELS: Mapping[str, str] = MappingProxyType(
    {name: name.replace("-", " ").capitalize() for name in PRESETS}
)
"""How a person reads them: `Last 30 days`, …"""


@dataclass(frozen=True)
class Choices:
    """What there is to choose from, and the days that periods are counted from.

    `today` is the business's: the day up to which the data is known. `counterparties` are names
    by id. `reporting` are the currencies with rates.
    """

    today: date
    first_day: date
    currencies: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    counterparties: Mapping[int, str] = field(default_factory=dict)
    reporting: tuple[str, ...] = (DEFAULT_REPORTING,)
    history_begins: datetime | None = None
    """The first capture: there is no state before it to go back to."""
    now: datetime | None = None
    """There is no state after it yet."""

    def names_of(self, country: str) -> tuple[str, ...]:
        """All that a country is called here: `Turkey` and `Türkiye` are one."""
        return tuple(one for one in self.countries if _country(one) == _country(country))

    @property
    def each_country(self) -> Mapping[str, tuple[str, ...]]:
        """Each country once, by the first of its names, with all of them."""
        found: dict[str, list[str]] = {}
        for name in self.countries:
            found.setdefault(_country(name), []).append(name)
        return {names[0]: tuple(names) for names in found.values()}


@dataclass(frozen=True)
class Filter:
    """One view of the business. Empty choices mean everything.

    `period` names the preset that `since` and `until` (both included) come from, so that a shared
    link goes on meaning "last 30 days"; it is empty where they were chosen freely. With `as_of`
    everything is as it stood at that moment. `reporting` is the currency of all sums.
    """

    since: date
    until: date
    currencies: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    counterparties: tuple[int, ...] = ()
    as_of: datetime | None = None
    reporting: str = DEFAULT_REPORTING
    period: str = ""

    def __post_init__(self) -> None:
        if self.since > self.until:
            raise ValueError(f"a period can't begin on {self.since} and end on {self.until}")
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise ValueError("a moment needs its time zone")

    @classmethod
    def of(cls, choices: Choices, period: str = DEFAULT_PERIOD) -> Self:
        """Everything, in the period that a preset names."""
        since, until = PRESETS[period](choices.today, choices.first_day)
        reporting = DEFAULT_REPORTING
        if choices.reporting and reporting not in choices.reporting:
            reporting = choices.reporting[0]
        return cls(since, until, period=period, reporting=reporting)

    @classmethod
    def from_query(cls, query: Query, choices: Choices) -> tuple["Filter", tuple[str, ...]]:
        """What a URL asks for, and a notice for each value in it that can't be meant."""
        reader = _QueryReader(query, choices)
        found = reader.period(cls.of(choices))
        return (
            replace(
                found,
                currencies=reader.known("currency", choices.currencies),
                countries=reader.countries(),
                departments=reader.known("department", choices.departments),
                counterparties=reader.ids("counterparty", choices.counterparties),
                as_of=reader.moment("as_of"),
                reporting=reader.one_of("in", choices.reporting) or found.reporting,
            ),
            tuple(reader.notices),
        )

    def to_query(self) -> dict[str, str | list[str]]:
        """The URL's query that `from_query` reads this filter from."""
        query: dict[str, str | list[str]] = {}
        if self.period:
            query["period"] = self.period
        else:
            query |= {"from": str(self.since), "to": str(self.until)}
        chosen: tuple[tuple[str, Iterable[object]], ...] = (
            ("currency", self.currencies),
            ("country", self.each_country),
            ("department", self.departments),
            ("counterparty", self.counterparties),
        )
        for name, values in chosen:
            if values := [str(value) for value in values]:
                query[name] = values
        if self.as_of is not None:
            query["as_of"] = self.as_of.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self.reporting != DEFAULT_REPORTING:
            query["in"] = self.reporting
        return query

    @property
    def each_country(self) -> tuple[str, ...]:
        """Each of the countries by one name: the others are chosen with it."""
        found: dict[str, str] = {}
        for name in self.countries:
            found.setdefault(_country(name), name)
        return tuple(found.values())

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.until - self.since).days + 1

    @property
    def is_narrowed(self) -> bool:
        """Whether it leaves out some of what lies in the period."""
        return bool(self.currencies or self.countries or self.departments or self.counterparties)

    def before(self) -> Self:
        """The same for the equal period before; it has the same number of days."""
        since = self.since - self.days * _DAY
        return replace(self, since=since, until=self.since - _DAY, period="")

    def within(self, since: date, until: date) -> Self:
        """The same for days of one's own choice, such as a month that was clicked on."""
        return replace(self, since=since, until=until, period="")

    def only(self, dimension: str, key: object, choices: Choices) -> Self:
        """The same for one of what a dimension has; for all of it again, where it is that one.

        As it is where nothing is narrowed by that dimension, or has no such key.
        """
        known: Mapping[str, Callable[[], tuple[object, ...]]] = {
            "currency": lambda: tuple(one for one in choices.currencies if one == key),
            "country": lambda: choices.names_of(str(key)),
            "department": lambda: tuple(one for one in choices.departments if one == key),
            "counterparty": lambda: tuple(one for one in choices.counterparties if one == key),
        }
        if dimension not in known or not (found := known[dimension]()):
            return self
        field_ = FIELDS[dimension]
        chosen: dict[str, Any] = {field_: () if getattr(self, field_) == found else found}
        return replace(self, **chosen)

    def everything(self) -> Self:
        """The same without any narrowing of what lies in the period."""
        return replace(self, currencies=(), countries=(), departments=(), counterparties=())

    def in_period(self, name: str, choices: Choices) -> Self:
        """The same for the period that a preset names."""
        since, until = PRESETS[name](choices.today, choices.first_day)
        return replace(self, since=since, until=until, period=name)


class _QueryReader:
    """Takes from a query what can be meant, and notes what can't."""

    def __init__(self, query: Query, choices: Choices) -> None:
        self._query = query
        self._choices = choices
        self.notices: list[str] = []

    def period(self, default: Filter) -> Filter:
        """The preset or the days; the default's where there are none."""
        if name := self.one_of("period", tuple(PRESETS)):
            return default.in_period(name, self._choices)
        since_text, until_text = self._single("from"), self._single("to")
        if since_text is None and until_text is None:
            return default
        since = self._day("from", since_text, self._choices.first_day)
        until = self._day("to", until_text, self._choices.today)
        if since is None or until is None:
            return default
        if since > until:
            self._note("from", f"{since} is after {until}")
            return default
        return replace(default, since=since, until=until, period="")

    def one_of(self, name: str, known: Sequence[str]) -> str | None:
        value = self._single(name)
        if value is None or value in known:
            return value
        self._note(name, f"there is no {_shown(value)}")
        return None

    def known(self, name: str, known: Sequence[str]) -> tuple[str, ...]:
        """Those of the values that are known, each once."""
        values = self._values(name)
        for value in values:
            if value not in known:
                self._note(name, f"there is no {_shown(value)}")
        return tuple(dict.fromkeys(value for value in values if value in known))

    def countries(self) -> tuple[str, ...]:
        """The known countries, by whatever name, each by all the names that it has here."""
        found: dict[str, None] = {}
        for value in self._values("country"):
            names = self._choices.names_of(value) if len(value) <= LONGEST_VALUE else ()
            if not names:
                self._note("country", f"there is no {_shown(value)}")
            found |= dict.fromkeys(names)
        return tuple(found)

    def ids(self, name: str, known: Mapping[int, str]) -> tuple[int, ...]:
        found: dict[int, None] = {}
        for value in self._values(name):
            number = int(value) if _ID.fullmatch(value) else _MOST_ID + 1
            if number <= _MOST_ID and number in known:
                found[number] = None
            else:
                self._note(name, f"there is no {_shown(value)}")
        return tuple(found)

    def moment(self, name: str) -> datetime | None:
        value = self._single(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self._note(name, f"{_shown(value)} is no moment such as 2026-11-20T12:00:00Z")
            return None
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            self._note(name, f"{_shown(value)} is of another age")
            return None
        if self._choices.now is not None and moment > self._choices.now:
            self._note(name, f"{_shown(value)} has not come yet")
            return None
        return moment

    def _day(self, name: str, text: str | None, default: date) -> date | None:
        if text is None:
            return default
        try:
            day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
        except ValueError:
            day = None
        if day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
            self._note(name, f"{_shown(text)} is no date such as 2026-11-20")
            return None
        return day

    def _single(self, name: str) -> str | None:
        """The value of a name that has one; the last where it was said more than once."""
        return values[-1] if (values := self._values(name)) else None

    def _values(self, name: str) -> list[str]:
        given = self._query.get(name, ())
        values = [given] if isinstance(given, str) else list(given)
        if len(values) > MOST_VALUES:
            self._note(name, f"more than {MOST_VALUES} values")
        return [value for value in values[:MOST_VALUES] if value]

    def _note(self, name: str, what: str) -> None:
        notice = f"“{name}” in the address was left out: {what}."
        if notice not in self.notices:
            self.notices.append(notice)


def _country(name: str) -> str:
    """What tells countries apart: their code, or a name that has none."""
    return world.code_of(name) or name


def _shown(value: str) -> str:
    """A stranger's text, fit to be shown in a line."""
    short = value if len(value) <= LONGEST_VALUE // 5 else value[: LONGEST_VALUE // 5] + "…"
    return ascii(short) if not short.isprintable() else f"“{short}”"
