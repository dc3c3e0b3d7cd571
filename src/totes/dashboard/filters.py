"""The filter of a page: a period, values of dimensions, a past moment, a reporting currency.

A filter is read from the URL, which may contain anything: each value is checked, and an invalid one
is ignored with a notice. This module depends on neither a web framework nor a database.
"""

import calendar
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from totes.dashboard import world
from totes.dashboard.preferences import preferences
from totes.star.contract import FIRST_YEAR, LAST_YEAR

ALL_DAYS = (date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31))
"""The first and the last day that the star accepts."""

MAX_VALUE_LENGTH = 200
"""Longer names of countries are not looked up."""

MAX_VALUES = 100
"""How many values a parameter of the URL may have."""

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
"""The fields of a filter, by the name of the URL's parameter and the dimension."""

type Query = Mapping[str, str | Sequence[str]]
"""The query of a URL: the value, or the values, of each name."""

_DAY = timedelta(days=1)
_CODE = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ID = re.compile(r"[0-9]{1,10}")
_MAX_ID = 2**31 - 1
_MAX_SHOWN = 40


class Period(NamedTuple):
    """From its first day to its last, both included."""

    since: date
    until: date


def _last_week(day: date) -> Period:
    monday = day - (day.weekday() + 7) * _DAY
    return Period(monday, monday + 6 * _DAY)


def _month(day: date) -> Period:
    return Period(day.replace(day=1), day.replace(day=calendar.monthrange(day.year, day.month)[1]))


def _same_day_of_last_year(day: date) -> date:
    last = calendar.monthrange(day.year - 1, day.month)[1]
    return day.replace(year=day.year - 1, day=min(day.day, last))


def _fiscal_year(day: date) -> date:
    """Return the first day of the fiscal year of a day."""
    month = preferences().fiscal_month
    return date(day.year - (day.month < month), month, 1)


PRESETS: Mapping[str, Callable[[date, date], Period]] = MappingProxyType(
    {
        "yesterday": lambda today, _: Period(today - _DAY, today - _DAY),
        "last-7-days": lambda today, _: Period(today - 6 * _DAY, today),
        "last-week": lambda today, _: _last_week(today),
        "last-30-days": lambda today, _: Period(today - 29 * _DAY, today),
        "this-month": lambda today, _: Period(today.replace(day=1), today),
        "last-month": lambda today, _: _month(today.replace(day=1) - _DAY),
        "this-year": lambda today, _: Period(today.replace(month=1, day=1), today),
        "this-fiscal-year": lambda today, _: Period(_fiscal_year(today), today),
        "last-fiscal-year": lambda today, _: Period(
            _fiscal_year(_fiscal_year(today) - _DAY), _fiscal_year(today) - _DAY
        ),
        "last-12-months": lambda today, _: Period(_same_day_of_last_year(today) + _DAY, today),
        "all": lambda today, first: Period(min(first, today), today),
    }
)
"""Periods by their name in a URL, computed from today and the first day with data."""

PRESET_LABELS: Mapping[str, str] = MappingProxyType(
    {name: name.replace("-", " ").capitalize() for name in PRESETS}
)
"""Labels of the periods: `Last 30 days`, …"""


def offered_periods(current: str) -> list[str]:
    """Return the presets to choose from; fiscal years if they differ from years, or are current."""
    has_fiscal_years = preferences().fiscal_month > 1
    return [name for name in PRESETS if has_fiscal_years or "fiscal" not in name or name == current]


COMPARISONS: Mapping[str, str] = MappingProxyType(
    {
        "previous": "Previous period",
        "previous-per-working-day": "Previous period, per working day",
        "last-year": "Same period last year",
        "last-year-per-working-day": "Same period last year, per working day",
        "none": "No comparison",
    }
)
"""Labels of what a period is compared with, by the name in a URL."""

PER_WORKING_DAY = "-per-working-day"


@dataclass(frozen=True)
class Choices:
    """The values that filters offer, and the days that periods refer to.

    `today` is the day of the newest data. `counterparties` are names by id. `reporting` are the
    currencies with exchange rates. `rests_at_weekends` is whether orders are made from Monday to
    Friday only.
    """

    today: date
    first_day: date
    currencies: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    counterparties: Mapping[int, str] = field(default_factory=dict)
    reporting: tuple[str, ...] = (DEFAULT_REPORTING,)
    history_begins: datetime | None = None
    """The first capture, and so the earliest past moment."""
    now: datetime | None = None
    """The latest moment that a filter may have."""
    rests_at_weekends: bool = False

    @property
    def comparisons(self) -> tuple[str, ...]:
        """The comparisons that are offered, the default first."""
        per_working_day = [name for name in COMPARISONS if name.endswith(PER_WORKING_DAY)]
        others = [name for name in COMPARISONS if name not in per_working_day]
        return (*per_working_day, *others) if self.rests_at_weekends else tuple(others)

    def names_of(self, country: str) -> tuple[str, ...]:
        """Return all names of a country in the data, such as `Turkey` and `Türkiye`."""
        return tuple(one for one in self.countries if _country(one) == _country(country))

    @property
    def each_country(self) -> Mapping[str, tuple[str, ...]]:
        """All names of each country, by the first of them."""
        names_by_country: dict[str, list[str]] = {}
        for name in self.countries:
            names_by_country.setdefault(_country(name), []).append(name)
        return {names[0]: tuple(names) for names in names_by_country.values()}


@dataclass(frozen=True)
class Filter:
    """A period, and the rows of it that count; an empty tuple matches all rows.

    `period` is the preset of `since` and `until` (both included), so that a shared link still shows
    the last 30 days later; it is empty for a custom period. `staff` are the members of staff who
    made the orders; it is set by a page and not in the URL. With `as_of`, data is that of a past
    moment. `reporting` is the currency of all amounts. `compare` is one of COMPARISONS, or empty
    for the default of the data.
    """

    since: date
    until: date
    currencies: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    counterparties: tuple[int, ...] = ()
    staff: tuple[int, ...] = ()
    as_of: datetime | None = None
    reporting: str = DEFAULT_REPORTING
    period: str = ""
    compare: str = ""

    def __post_init__(self) -> None:
        if self.since > self.until:
            raise ValueError(f"a period can't begin on {self.since} and end on {self.until}")
        if self.as_of is not None and self.as_of.tzinfo is None:
            raise ValueError("a moment needs its time zone")

    @classmethod
    def of(cls, choices: Choices, period: str = DEFAULT_PERIOD) -> Self:
        """Return a filter that matches all rows in the period of a preset."""
        since, until = PRESETS[period](choices.today, choices.first_day)
        reporting = preferences().currency
        if choices.reporting and reporting not in choices.reporting:
            reporting = choices.reporting[0]
        return cls(since, until, period=period, reporting=reporting)

    @classmethod
    def from_query(cls, query: Query, choices: Choices) -> tuple["Filter", tuple[str, ...]]:
        """Return the filter of a URL's query, and a notice for each value that is ignored."""
        reader = _QueryReader(query, choices)
        criteria = reader.period(cls.of(choices))
        return (
            replace(
                criteria,
                currencies=reader.some_of("currency", choices.currencies),
                countries=reader.countries(),
                departments=reader.some_of("department", choices.departments),
                counterparties=reader.ids("counterparty", choices.counterparties),
                as_of=reader.moment("as_of"),
                reporting=reader.one_of("in", choices.reporting) or criteria.reporting,
                compare=reader.one_of("compare", tuple(COMPARISONS)) or "",
            ),
            tuple(reader.notices),
        )

    def to_query(self) -> dict[str, str | list[str]]:
        """Return the URL's query that `from_query` reads this filter from."""
        query: dict[str, str | list[str]] = {}
        if self.period:
            query["period"] = self.period
        else:
            query |= {"from": str(self.since), "to": str(self.until)}
        values_by_name: tuple[tuple[str, Iterable[object]], ...] = (
            ("currency", self.currencies),
            ("country", self.each_country),
            ("department", self.departments),
            ("counterparty", self.counterparties),
        )
        for name, values in values_by_name:
            if values := [str(value) for value in values]:
                query[name] = values
        if self.as_of is not None:
            query["as_of"] = self.as_of.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self.reporting != preferences().currency:
            query["in"] = self.reporting
        if self.compare:
            query["compare"] = self.compare
        return query

    @property
    def each_country(self) -> tuple[str, ...]:
        """One name of each of the countries; it implies their other names."""
        names_by_country: dict[str, str] = {}
        for name in self.countries:
            names_by_country.setdefault(_country(name), name)
        return tuple(names_by_country.values())

    @property
    def days(self) -> int:
        """The number of days of the period."""
        return (self.until - self.since).days + 1

    @property
    def months(self) -> int:
        """The number of months of the period, 0 if it has a part of one."""
        after = self.until + _DAY
        if self.since.day != 1 or after.day != 1:
            return 0
        return (after.year - self.since.year) * 12 + after.month - self.since.month

    @property
    def working_days(self) -> int:
        """The number of days of the period from Monday to Friday."""
        weeks, rest = divmod(self.days, 7)
        first = self.since.weekday()
        return weeks * 5 + sum((first + day) % 7 < 5 for day in range(rest))  # noqa: PLR2004  Saturday

    @property
    def is_narrowed(self) -> bool:
        """Whether the filter excludes rows of the period."""
        return bool(self.currencies or self.countries or self.departments or self.counterparties)

    def before(self) -> Self:
        """Return the filter for the previous period, with the same number of months or days."""
        since = self.since - self.days * _DAY
        if self.months:
            year, month = divmod(self.since.year * 12 + self.since.month - 1 - self.months, 12)
            since = date(year, month + 1, 1)
        return replace(self, since=since, until=self.since - _DAY, period="")

    def year_before(self) -> Self:
        """Return the filter for the same days of the year before; 29 February becomes the 28th."""
        since, until = (_same_day_of_last_year(day) for day in (self.since, self.until))
        return replace(self, since=since, until=until, period="")

    def within(self, since: date, until: date) -> Self:
        """Return the filter for a custom period."""
        return replace(self, since=since, until=until, period="")

    def only(self, dimension: str, key: object, choices: Choices) -> Self:
        """Return the filter for one member of a dimension; for all, if it has that member already.

        The filter is unchanged if it has no such dimension, or the dimension no such member.
        """
        members: Mapping[str, Callable[[], tuple[object, ...]]] = {
            "currency": lambda: tuple(one for one in choices.currencies if one == key),
            "country": lambda: choices.names_of(str(key)),
            "department": lambda: tuple(one for one in choices.departments if one == key),
            "counterparty": lambda: tuple(one for one in choices.counterparties if one == key),
        }
        if dimension not in members or not (found := members[dimension]()):
            return self
        field_ = FIELDS[dimension]
        change: dict[str, Any] = {field_: () if getattr(self, field_) == found else found}
        return replace(self, **change)

    def everything(self) -> Self:
        """Return the filter for all rows of the period."""
        return replace(self, currencies=(), countries=(), departments=(), counterparties=())

    def in_period(self, name: str, choices: Choices) -> Self:
        """Return the filter for the period of a preset."""
        since, until = PRESETS[name](choices.today, choices.first_day)
        return replace(self, since=since, until=until, period=name)


class _QueryReader:
    """Reads valid values from a query, and collects notices about invalid ones."""

    def __init__(self, query: Query, choices: Choices) -> None:
        self._query = query
        self._choices = choices
        self.notices: list[str] = []

    def period(self, default: Filter) -> Filter:
        """Return the filter with the query's preset or days; the default without these."""
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
            self._ignore("from", f"{since} is after {until}")
            return default
        return replace(default, since=since, until=until, period="")

    def one_of(self, name: str, options: Sequence[str]) -> str | None:
        value = self._single(name)
        if value is None or value in options:
            return value
        self._ignore_unknown(name, value)
        return None

    def some_of(self, name: str, options: Sequence[str]) -> tuple[str, ...]:
        """Return the values that are options, each once."""
        values = self._values(name)
        for value in values:
            if value not in options:
                self._ignore_unknown(name, value)
        return tuple(dict.fromkeys(value for value in values if value in options))

    def countries(self) -> tuple[str, ...]:
        """Return all names of the countries of the query, which may have any of their names."""
        names_in_order: dict[str, None] = {}
        for value in self._values("country"):
            names = self._choices.names_of(value) if len(value) <= MAX_VALUE_LENGTH else ()
            if not names:
                self._ignore_unknown("country", value)
            names_in_order |= dict.fromkeys(names)
        return tuple(names_in_order)

    def ids(self, name: str, options: Mapping[int, str]) -> tuple[int, ...]:
        numbers: dict[int, None] = {}
        for value in self._values(name):
            number = int(value) if _ID.fullmatch(value) else _MAX_ID + 1
            if number <= _MAX_ID and number in options:
                numbers[number] = None
            else:
                self._ignore_unknown(name, value)
        return tuple(numbers)

    def moment(self, name: str) -> datetime | None:
        value = self._single(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self._ignore(name, f"{quoted(value)} is not a time such as 2026-11-20T12:00:00Z")
            return None
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            self._ignore(name, f"{quoted(value)} is outside {FIRST_YEAR}–{LAST_YEAR}")  # noqa: RUF001
            return None
        if self._choices.now is not None and moment > self._choices.now:
            self._ignore(name, f"{quoted(value)} is in the future")
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
            self._ignore(
                name,
                f"{quoted(text)} is not a date such as 2026-11-20, "
                f"or outside {FIRST_YEAR}–{LAST_YEAR}",  # noqa: RUF001
            )
            return None
        return day

    def _single(self, name: str) -> str | None:
        """Return the last value of a name, None if it has none."""
        return values[-1] if (values := self._values(name)) else None

    def _values(self, name: str) -> list[str]:
        texts = self._query.get(name, ())
        values = [texts] if isinstance(texts, str) else list(texts)
        if len(values) > MAX_VALUES:
            self._ignore(name, f"only the first {MAX_VALUES} values are used")
        return [value for value in values[:MAX_VALUES] if value]

    def _ignore_unknown(self, name: str, value: str) -> None:
        self._ignore(name, f"{quoted(value)} does not exist")

    def _ignore(self, name: str, reason: str) -> None:
        notice = ignored(name, reason)
        if notice not in self.notices:
            self.notices.append(notice)


def ignored(name: str, reason: str) -> str:
    """Return the notice that a parameter of the URL is ignored."""
    return f"Ignored “{name}” in the URL: {reason}."


def _country(name: str) -> str:
    """Return the code of a country, or its name if there is no code."""
    return world.code_of(name) or name


def quoted(value: str) -> str:
    """Return any text in quotes, shortened to one line."""
    short = value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…"
    return ascii(short) if not short.isprintable() else f"“{short}”"
