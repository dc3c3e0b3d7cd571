"""The filter of a page: what a URL says is taken where it can be meant, and noted where not."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.dashboard.filters import PRESETS, Choices, Filter

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
    "\uff11\uff12",  # digits, but not ours
    "nan",
    "A" * 100_000,
)

NAMES = ("period", "from", "to", "currency", "country", "department", "counterparty", "as_of", "in")

FILTERS = st.builds(
    lambda days, preset, chosen, as_of, reporting: (
        Filter.of(CHOICES, preset) if preset else Filter(min(days), max(days)),
        chosen,
        as_of,
        reporting,
    ),
    days=st.tuples(*[st.dates(date(1900, 1, 1), date(2200, 12, 31))] * 2),
    preset=st.sampled_from(["", *PRESETS]),
    chosen=st.tuples(
        st.sets(st.sampled_from(CHOICES.currencies)),
        st.sets(st.sampled_from(CHOICES.countries)),
        st.sets(st.sampled_from(CHOICES.departments)),
        st.sets(st.sampled_from([*CHOICES.counterparties])),
    ),
    as_of=st.none()
    | st.datetimes(datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  Hypothesis adds the zone
    reporting=st.sampled_from(CHOICES.reporting),
).map(
    lambda parts: Filter(
        parts[0].since,
        parts[0].until,
        tuple(parts[1][0]),
        tuple(parts[1][1]),
        tuple(parts[1][2]),
        tuple(parts[1][3]),
        parts[2],
        parts[3],
        parts[0].period,
    )
)


@given(chosen=FILTERS)
def test_a_shared_link_shows_the_same(chosen: Filter) -> None:
    link = urlencode(chosen.to_query(), doseq=True)
    assert Filter.from_query(parse_qs(link), CHOICES) == (chosen, ())


BOTH = replace(CHOICES, countries=("Iran", "Turkey", "Turkmenistan", "Türkiye"))
"""Of one of them there are two names."""


@pytest.mark.parametrize(
    "asked", ["Turkey", "Türkiye", ["Turkey", "Türkiye"], ["Türkiye", "Turkey", "Türkiye"], "TR"]
)
def test_a_country_of_two_names_is_one_choice_by_either(asked: str | list[str]) -> None:
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
def test_one_of_a_dimension_is_narrowed_to_and_widened_from(
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
def test_nothing_in_a_url_breaks_the_filter(query: dict[str, str | list[str]]) -> None:
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
def test_a_hostile_value_is_left_out_and_noted(name: str, value: str) -> None:
    found, notices = Filter.from_query({name: value}, CHOICES)
    assert found == Filter.of(CHOICES)
    [notice] = notices
    assert f"“{name}”" in notice


def test_what_can_be_meant_is_taken_beside_what_can_not() -> None:
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
        "“from” in the address was left out: “2024-1-1” is no date such as 2026-11-20.",
        "“currency” in the address was left out: there is no “DOGE”.",
        "“counterparty” in the address was left out: there is no “3”.",
        "“counterparty” in the address was left out: there is no “x”.",
    )


def test_a_moment_that_has_not_come_is_left_out_and_noted() -> None:
    now = datetime(2024, 3, 31, 12, tzinfo=UTC)
    choices = replace(CHOICES, now=now)
    assert Filter.from_query({"as_of": now.isoformat()}, choices) == (
        replace(Filter.of(choices), as_of=now),
        (),
    )
    found, [notice] = Filter.from_query({"as_of": "2024-03-31T12:00:01Z"}, choices)
    assert found == Filter.of(choices)
    assert "has not come yet" in notice


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
def test_presets_mean_what_they_say(name: str, since: date, until: date) -> None:
    chosen = Filter.of(CHOICES, name)
    assert (chosen.since, chosen.until, chosen.period) == (since, until, name)


@given(today=st.dates(date(1902, 1, 1), date(2199, 12, 31)))
def test_twelve_months_are_a_year_to_the_day(today: date) -> None:
    since, until = PRESETS["last-12-months"](today, today)
    assert until == today
    assert 365 <= (until - since).days + 1 <= 366


@given(chosen=FILTERS)
def test_the_period_before_is_as_long_and_ends_the_day_before(chosen: Filter) -> None:
    before = chosen.before()
    assert before.until == chosen.since - timedelta(days=1)
    assert before.days == chosen.days
    assert (before.currencies, before.as_of) == (chosen.currencies, chosen.as_of)


def test_a_link_to_a_preset_moves_with_the_days_and_a_free_period_does_not() -> None:
    later = Choices(today=date(2024, 4, 30), first_day=CHOICES.first_day)
    preset = Filter.of(CHOICES, "this-month")
    assert Filter.from_query(preset.to_query(), later)[0].since == date(2024, 4, 1)
    free = preset.within(preset.since, preset.until)
    assert Filter.from_query(free.to_query(), later)[0].since == date(2024, 3, 1)
