"""The filter of a page: valid values of a URL are used, invalid ones are ignored with a notice."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.dashboard.filters import COMPARISONS, PRESETS, Choices, Filter

CHOICES = Choices(
    today=date(2024, 3, 31),
    first_day=date(2022, 11, 3),
    currencies=("EUR", "GBP", "USD"),
    countries=("Korea, Republic of", "Côte d'Ivoire", "Turkey"),
    departments=("Sales", "R&D"),
    counterparties={1: "O'Keefe", 2: "<script>alert(1)</script>"},
    reporting=("GBP", "EUR", "USD"),
    now=datetime(2200, 1, 1, tzinfo=UTC),
)

HOSTILE = (
    "'; DROP TABLE fact_payment; --",
    "' OR 1=1 --",
    "GBP' UNION SELECT password FROM pg_shadow --",
    "<script>alert(1)</script>",
    "%(since)s",
    "{source}",
    "$1",
    "\x00",
    "\u202egnp.exe",
    "../../etc/passwd",
    "9" * 400,
    "-1",
    "\uff11\uff12",  # full-width digits
    "nan",
    "A" * 100_000,
)

NAMES = ("period", "from", "to", "currency", "country", "department", "counterparty", "as_of", "in")

FILTERS = st.builds(
    lambda days, preset, criteria, as_of, reporting, compare: (
        Filter.of(CHOICES, preset) if preset else Filter(min(days), max(days)),
        criteria,
        as_of,
        reporting,
        compare,
    ),
    days=st.tuples(*[st.dates(date(1900, 1, 1), date(2200, 12, 31))] * 2),
    preset=st.sampled_from(["", *PRESETS]),
    criteria=st.tuples(
        st.sets(st.sampled_from(CHOICES.currencies)),
        st.sets(st.sampled_from(CHOICES.countries)),
        st.sets(st.sampled_from(CHOICES.departments)),
        st.sets(st.sampled_from([*CHOICES.counterparties])),
    ),
    as_of=st.none()
    | st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  Hypothesis adds the zone
    reporting=st.sampled_from(CHOICES.reporting),
    compare=st.sampled_from(["", *COMPARISONS]),
).map(
    lambda parts: Filter(
        parts[0].since,
        parts[0].until,
        currencies=tuple(parts[1][0]),
        countries=tuple(parts[1][1]),
        departments=tuple(parts[1][2]),
        counterparties=tuple(parts[1][3]),
        as_of=parts[2],
        reporting=parts[3],
        period=parts[0].period,
        compare=parts[4],
    )
)


@given(criteria=FILTERS)
def test_a_link_keeps_the_filter(criteria: Filter) -> None:
    link = urlencode(criteria.to_query(), doseq=True)
    assert Filter.from_query(parse_qs(link), CHOICES) == (criteria, ())


BOTH = replace(CHOICES, countries=("Iran", "Turkey", "Turkmenistan", "Türkiye"))
"""One country has two names."""


@pytest.mark.parametrize(
    "asked", ["Turkey", "Türkiye", ["Turkey", "Türkiye"], ["Türkiye", "Turkey", "Türkiye"], "TR"]
)
def test_a_country_with_two_names_is_found_by_either(asked: str | list[str]) -> None:
    assert BOTH.each_country == {
        "Iran": ("Iran",),
        "Turkey": ("Turkey", "Türkiye"),
        "Turkmenistan": ("Turkmenistan",),
    }
    found, notices = Filter.from_query({"country": asked}, BOTH)
    assert (found.countries, notices) == (("Turkey", "Türkiye"), ())
    assert found.each_country == ("Turkey",)
    assert found.to_query()["country"] == ["Turkey"]
    assert Filter.from_query(found.to_query(), BOTH) == (found, ())
    alone = replace(BOTH, countries=("Türkiye",))  # as its addresses were corrected since
    assert Filter.from_query({"country": asked}, alone)[0].countries == ("Türkiye",)


def test_the_countries_of_a_link_keep_their_order() -> None:
    found, _ = Filter.from_query({"country": ["Türkiye", "Iran", "Turkey"]}, BOTH)
    assert found.each_country == ("Turkey", "Iran")


@pytest.mark.parametrize(
    ("dimension", "key", "narrowed"),
    [
        ("country", "Türkiye", {"countries": ("Turkey", "Türkiye")}),
        ("currency", "EUR", {"currencies": ("EUR",)}),
        ("department", "R&D", {"departments": ("R&D",)}),
        ("counterparty", 2, {"counterparties": (2,)}),
        ("counterparty", 3, {}),
        ("counterparty", "<script>", {}),
        ("country", None, {}),
        ("design", "Soft", {}),
    ],
)
def test_a_member_of_a_dimension_is_added_to_the_filter_and_removed(
    dimension: str, key: object, narrowed: dict[str, object]
) -> None:
    everything = replace(Filter.of(BOTH), currencies=("GBP",), reporting="USD")
    found = everything.only(dimension, key, BOTH)
    assert found == replace(everything, **narrowed)  # type: ignore[arg-type]
    if narrowed:
        again = found.only(dimension, key, BOTH)
        assert again == replace(found, **dict.fromkeys(narrowed, ()))  # type: ignore[arg-type]
    assert found.everything() == replace(everything, currencies=())


@given(
    query=st.dictionaries(
        st.sampled_from(NAMES) | st.text(max_size=5),
        st.text() | st.lists(st.text() | st.sampled_from(HOSTILE), max_size=5),
    )
)
def test_any_url_gives_a_valid_filter(query: dict[str, str | list[str]]) -> None:
    found, notices = Filter.from_query(query, CHOICES)
    assert found.since <= found.until
    assert set(found.currencies) <= set(CHOICES.currencies)
    assert set(found.countries) <= set(CHOICES.countries)
    assert set(found.departments) <= set(CHOICES.departments)
    assert set(found.counterparties) <= set(CHOICES.counterparties)
    assert found.reporting in CHOICES.reporting
    assert all(len(notice) < 300 and notice.isprintable() for notice in notices)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_ignored_with_a_notice(name: str, value: str) -> None:
    found, notices = Filter.from_query({name: value}, CHOICES)
    assert found == Filter.of(CHOICES)
    [notice] = notices
    assert f"“{name}”" in notice


def test_valid_values_are_used_beside_invalid_ones() -> None:
    query = {
        "currency": ["USD", "DOGE", "USD"],
        "counterparty": ["2", "3", "x"],
        "from": "2024-1-1",
    }
    found, notices = Filter.from_query(query, CHOICES)
    assert found.currencies == ("USD",)
    assert found.counterparties == (2,)
    assert (found.since, found.until) == (date(2024, 3, 2), date(2024, 3, 31))
    assert notices == (
        (
            "Ignored “from” in the URL: “2024-1-1” is not a date such as 2026-11-20, "
            "or outside 1900–2200."  # noqa: RUF001
        ),
        "Ignored “currency” in the URL: “DOGE” does not exist.",
        "Ignored “counterparty” in the URL: “3” does not exist.",
        "Ignored “counterparty” in the URL: “x” does not exist.",
    )


def test_a_moment_in_the_future_is_ignored_with_a_notice() -> None:
    now = datetime(2024, 3, 31, 12, tzinfo=UTC)
    choices = replace(CHOICES, now=now)
    assert Filter.from_query({"as_of": now.isoformat()}, choices) == (
        replace(Filter.of(choices), as_of=now),
        (),
    )
    found, [notice] = Filter.from_query({"as_of": "2024-03-31T12:00:01Z"}, choices)
    assert found == Filter.of(choices)
    assert "is in the future" in notice
    found, [notice] = Filter.from_query({"as_of": "1066-10-14T09:00:00Z"}, choices)
    assert found == Filter.of(choices)
    assert "is outside 1900–2200" in notice  # noqa: RUF001


@pytest.mark.parametrize(
    ("name", "since", "until"),
    [
        ("last-30-days", date(2024, 3, 2), date(2024, 3, 31)),
        ("this-month", date(2024, 3, 1), date(2024, 3, 31)),
        ("last-month", date(2024, 2, 1), date(2024, 2, 29)),
        ("this-year", date(2024, 1, 1), date(2024, 3, 31)),
        ("last-12-months", date(2023, 4, 1), date(2024, 3, 31)),
        ("all", date(2022, 11, 3), date(2024, 3, 31)),
    ],
)
def test_presets_have_the_right_days(name: str, since: date, until: date) -> None:
    criteria = Filter.of(CHOICES, name)
    assert (criteria.since, criteria.until, criteria.period) == (since, until, name)


@given(today=st.dates(date(1902, 1, 1), date(2199, 12, 31)))
def test_twelve_months_are_a_year_to_the_day(today: date) -> None:
    since, until = PRESETS["last-12-months"](today, today)
    assert until == today
    assert 365 <= (until - since).days + 1 <= 366


@given(criteria=FILTERS)
def test_the_previous_period_is_as_long_and_ends_the_day_before(criteria: Filter) -> None:
    before = criteria.before()
    assert before.until == criteria.since - timedelta(days=1)
    if criteria.months:
        assert before.months == criteria.months
    else:
        assert before.days == criteria.days
    assert (before.currencies, before.as_of) == (criteria.currencies, criteria.as_of)


def test_whole_months_are_compared_with_whole_months() -> None:
    january = Filter(date(2024, 1, 1), date(2024, 1, 31)).before()
    assert (january.since, january.until) == (date(2023, 12, 1), date(2023, 12, 31))
    quarter = Filter(date(2024, 1, 1), date(2024, 3, 31)).before()
    assert (quarter.since, quarter.until) == (date(2023, 10, 1), date(2023, 12, 31))


@given(criteria=FILTERS)
def test_working_days_are_those_from_monday_to_friday(criteria: Filter) -> None:
    short = criteria.within(criteria.since, min(criteria.until, criteria.since + timedelta(50)))
    days = [short.since + timedelta(days=day) for day in range(short.days)]
    assert short.working_days == sum(day.isoweekday() <= 5 for day in days)
    longer = criteria.within(criteria.since, criteria.since + timedelta(50 + 7 * 1000))
    assert (
        longer.working_days
        == 5000 + criteria.within(criteria.since, criteria.since + timedelta(50)).working_days
    )


@given(criteria=FILTERS)
def test_the_year_before_has_the_same_days_of_the_year(criteria: Filter) -> None:
    before = criteria.year_before()
    for day, earlier in ((criteria.since, before.since), (criteria.until, before.until)):
        assert (earlier.year, earlier.month) == (day.year - 1, day.month)
        assert earlier.day == (28 if (day.month, day.day) == (2, 29) else day.day)


def test_a_preset_in_a_link_follows_the_days_and_a_custom_period_does_not() -> None:
    later = Choices(today=date(2024, 4, 30), first_day=CHOICES.first_day)
    preset = Filter.of(CHOICES, "this-month")
    assert Filter.from_query(preset.to_query(), later)[0].since == date(2024, 4, 1)
    custom = preset.within(preset.since, preset.until)
    assert Filter.from_query(custom.to_query(), later)[0].since == date(2024, 3, 1)
