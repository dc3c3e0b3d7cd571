"""Exchange rates: every day has the last one known, exactly, and what was carried is replaced."""

import http.server
import logging
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import lake_reader
import psycopg
import pytest
from checksums import checksums
from currency_converter import CurrencyConverter
from hypothesis import given
from hypothesis import strategies as st
from installation import Installation, at
from pydantic import ValidationError
from scratch_source import once

from totes.errors import SourceError, WarehouseError
from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    LONGEST_CARRY,
    RATES,
    Former,
    Manifest,
    RatesRead,
    Table,
    digest,
    manifest_path,
)
from totes.operations.gc import orphans
from totes.operations.release import release
from totes.operations.status import status
from totes.operations.verify import verify
from totes.rates import (
    BUNDLED,
    DEFINITION,
    ENDED_AFTER,
    FIRST_DAY,
    News,
    Published,
    Rate,
    Rates,
    ecb,
    news,
)
from totes.source import snapshot
from totes.source.catalogue import Scope
from totes.stages.ingest import Accept, ingest
from totes.stages.runner import run_once

DAY = timedelta(days=1)
Quoted = Mapping[date, Mapping[str, str]]


def csv(quoted: Quoted) -> bytes:
    """As the ECB writes it, the newest day first."""
    codes = sorted({code for rates in quoted.values() for code in rates})
    lines = [f"Date,{','.join(codes)},"]
    lines += [
        f"{day},{','.join(quoted[day].get(code, 'N/A') for code in codes)},"
        for day in sorted(quoted, reverse=True)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def zipped(content: bytes, *names: str) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in names or ("eurofxref-hist.csv",):
            archive.writestr(name, content)
    return packed.getvalue()


def published(quoted: Quoted, source: str = BUNDLED) -> dict[date, Published]:
    return {day: Published(source, rates) for day, rates in quoted.items()}


def as_it_is(quoted: Quoted, today: date) -> dict[str, Rate]:
    """What must be known on a day, found the slow way: for each day and currency on its own."""
    days = sorted(day for day in quoted if day <= today)
    currencies = {code for rates in quoted.values() for code in rates}
    found: dict[str, Rate] = {}
    for ahead in range((today - FIRST_DAY).days + 1):
        day = FIRST_DAY + ahead * DAY
        before = [known for known in days if known <= day]
        rates = [Rate(day, "EUR", "1", DEFINITION, carried=False)]
        for code in currencies:
            own = [known for known in before if code in quoted[known]]
            if own and before.index(own[-1]) + ENDED_AFTER > len(before) - 1:
                carried = own[-1] != day
                rates.append(Rate(day, code, quoted[own[-1]][code], BUNDLED, carried))
        found |= {rate.key: rate for rate in rates}
    return found


# What a batch brings.

digits = st.decimals(Decimal("0.00001"), Decimal(30000), places=5).map(str)
publications = st.lists(
    st.dictionaries(st.sampled_from(["GBP", "USD", "XXA", "XXB"]), digits, max_size=3), max_size=60
)


@given(
    what=publications,
    gaps=st.lists(st.integers(1, 4), min_size=60, max_size=60),
    looks=st.lists(st.tuples(st.integers(-3, 25), st.integers(0, 9)), min_size=1, max_size=12),
)
def test_through_any_batches_the_rates_are_those_of_all_that_is_known(
    what: list[dict[str, str]], gaps: list[int], looks: list[tuple[int, int]]
) -> None:
    """Also where days become known late, many at once, or the clock goes back."""
    quoted, day = {}, FIRST_DAY - 20 * DAY
    for rates, gap in zip(what, gaps, strict=False):
        day += gap * DAY
        if rates:
            quoted[day] = rates
    held: dict[str, Rate] = {}
    read, table, today, latest = None, None, FIRST_DAY, FIRST_DAY
    for ahead, late in looks:
        today += ahead * DAY
        known = {day: rates for day, rates in quoted.items() if day <= today - late * DAY}
        found = news(read, published(known), today)
        if found is None:
            continue
        latest = max(latest, today)
        for rate in found.upserts:
            assert held.get(rate.key) != rate
            held[rate.key] = rate
        for key in found.deletes:
            del held[key]
        read = RatesRead.model_validate_json(found.read.model_dump_json())
        table = found.table(table)
        assert table.rows == len(held)
        seen = {day: rates for day, rates in quoted.items() if day <= read.actual}
        assert held == as_it_is(seen, latest)
        assert news(read, published(known), today) is None
    if table is not None:
        final = news(read, published(quoted), latest)
        for rate in final.upserts if final else ():
            held[rate.key] = rate
        for key in final.deletes if final else ():
            del held[key]
        assert held == as_it_is(quoted, latest)


NEW_YEAR: Quoted = {FIRST_DAY - DAY: {"GBP": "0.84028", "USD": "1.1326"}}


def told(quoted: Quoted, today: date, read: RatesRead | None = None) -> News:
    found = news(read, published(quoted), today)
    assert found is not None
    return found


def test_a_weekend_and_a_holiday_have_the_rate_of_the_day_before() -> None:
    quoted = {
        date(2022, 4, 14): {"USD": "1.0878"},  # Maundy Thursday
        date(2022, 4, 19): {"USD": "1.0803"},
    }
    found = {(r.day, r.rate, r.carried) for r in told(quoted, date(2022, 4, 19)).upserts}
    easter = {(date(2022, 4, day), "1.0878", True) for day in range(15, 19)}
    assert easter <= found
    assert {(date(2022, 4, 14), "1.0878", False), (date(2022, 4, 19), "1.0803", False)} <= found


def test_the_first_days_have_the_rate_of_the_year_before() -> None:
    rates = told(NEW_YEAR, FIRST_DAY + DAY).upserts
    assert {(r.day, r.currency, r.rate, r.carried) for r in rates} == {
        (day, *rate)
        for day in (FIRST_DAY, FIRST_DAY + DAY)
        for rate in [("EUR", "1", False), ("GBP", "0.84028", True), ("USD", "1.1326", True)]
    }


def test_a_currency_that_is_published_no_more_has_ended() -> None:
    """What it was carried to meanwhile goes again."""
    first = told(NEW_YEAR, FIRST_DAY + 30 * DAY)
    days = [FIRST_DAY + n * DAY for n in range(ENDED_AFTER + 3)]
    found = told({day: {"USD": "1.1"} for day in days}, FIRST_DAY + 30 * DAY, first.read)
    ended = [f"{FIRST_DAY + n * DAY} GBP" for n in range(ENDED_AFTER - 1, 31)]
    assert list(found.deletes) == ended
    assert [quote.currency for quote in found.read.quotes] == ["USD"]


def test_rates_are_carried_for_a_year_and_no_longer() -> None:
    """A clock that jumped ahead makes no rates for the rest of time."""
    [last] = NEW_YEAR
    first = told(NEW_YEAR, date(2199, 1, 1))
    assert max(rate.day for rate in first.upserts) == last + LONGEST_CARRY
    assert news(first.read, published(NEW_YEAR), date(2199, 1, 1)) is None
    assert Rates().news(first.read, last + LONGEST_CARRY - DAY) is not None, "the bundle has more"


def test_before_the_first_day_and_without_any_rates_there_is_nothing() -> None:
    assert news(None, published(NEW_YEAR), FIRST_DAY - DAY) is None
    assert news(None, {}, FIRST_DAY) is None


QUOTE = {"currency": "USD", "day": "2022-01-03", "rate": "1.1355", "source": "here"}
IMPOSSIBLE: dict[str, dict[str, object]] = {
    "twice": {"quotes": [QUOTE, QUOTE]},
    "no rate": {"quotes": [QUOTE | {"rate": "1e3"}]},
    "no currency": {"quotes": [QUOTE | {"currency": "usd'"}]},
    "told before it was published": {"through": "2022-01-02"},
    "told for ages": {"through": "2199-01-02"},
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_a_lake_that_says_what_can_not_be_of_rates_is_refused(what: str) -> None:
    possible = {"through": "2022-01-04", "actual": "2022-01-03", "quotes": [QUOTE]}
    assert RatesRead.model_validate(possible)
    with pytest.raises(ValidationError):
        RatesRead.model_validate(possible | IMPOSSIBLE[what])


# What is read.


def test_the_rates_that_come_with_the_program_are_taken_digit_by_digit() -> None:
    """As another reader of the whole file has them."""
    today = date(2026, 6, 30)
    found = Rates().news(None, today)
    assert found is not None
    others = CurrencyConverter(decimal=True)
    taken = {(r.day, r.currency): r.rate for r in found.upserts if not r.carried}
    assert len(taken) > 30_000
    codes, generator = sorted({code for _, code in taken} - {"EUR"}), random.Random(5)  # noqa: S311
    for _ in range(3000):
        day = FIRST_DAY + generator.randrange((today - FIRST_DAY).days) * DAY
        code = generator.choice(codes)
        mine = taken.get((day, code))
        assert (Decimal(mine) if mine else None) == others._rates[code].get(day)


GOOD = csv({FIRST_DAY: {"GBP": "0.84", "USD": "1.13"}, FIRST_DAY + DAY: {"USD": "1.14"}})


def test_the_ecbs_file_is_read_zipped_or_plain_and_only_as_far_as_needed() -> None:
    both = {
        FIRST_DAY: Published("here", {"GBP": "0.84", "USD": "1.13"}),
        FIRST_DAY + DAY: Published("here", {"USD": "1.14"}),
    }
    assert ecb.parse(GOOD, "here", FIRST_DAY - DAY) == both
    assert ecb.parse(zipped(GOOD), "here", FIRST_DAY - DAY) == both
    assert list(ecb.parse(GOOD, "here", FIRST_DAY)) == [FIRST_DAY + DAY]


BAD = {
    "nothing": b"",
    "a page": b"<html>Moved</html>\n",
    "a cut line": GOOD[:-1],
    "bytes": bytes(range(128, 256)),
    "half a zip": zipped(GOOD)[:-40],
    "a spoilt zip": zipped(GOOD).replace(b"0.84", b"0.85"),
    "an empty zip": zipped(b"", *()).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "two files": zipped(GOOD, "a.csv", "b.csv"),
    "no currencies": b"Date,\n2022-01-03,\n",
    "no codes": b"Date,usd,\n2022-01-03,1,\n",
    "a code twice": b"Date,USD,USD,\n2022-01-03,1,1,\n",
    "the euro": b"Date,EUR,\n2022-01-03,1,\n",
    "a short line": b"Date,USD,GBP,\n2022-01-03,1,\n",
    "a long line": b"Date,USD,\n2022-01-03,1,2,3,\n",
    "no day": b"Date,USD,\nsoon,1,\n",
    "a day in other words": b"Date,USD,\n20220103,1,\n",
    "days upwards": b"Date,USD,\n2022-01-03,1,\n2022-01-04,1,\n",
    "a day twice": b"Date,USD,\n2022-01-03,1,\n2022-01-03,1,\n",
    "zero": b"Date,USD,\n2022-01-03,0.000,\n",
    "below zero": b"Date,USD,\n2022-01-03,-1,\n",
    "an exponent": b"Date,USD,\n2022-01-03,1e3,\n",
    "not a number": b"Date,USD,\n2022-01-03,NaN,\n",
    "too many digits": b"Date,USD,\n2022-01-03,1.1234567,\n",
    "too much": b"Date,USD,\n2022-01-03,1234567890123,\n",
    "a leading zero": b"Date,USD,\n2022-01-03,01.2,\n",
    "spaces": b"Date, USD,\n2022-01-03, 1,\n",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_not_the_ecbs_file_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ecb.parse(BAD[what], "here", FIRST_DAY)


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
    assert ecb.expected(moment) == date.fromisoformat(newest)


def test_every_day_the_ecb_published_was_expected_and_no_other() -> None:
    """Since 2002: the two years before had other closing days, too."""
    content = (files("currency_converter") / "eurofxref-hist.zip").read_bytes()
    first = date(2002, 1, 2)
    days = ecb.parse(content, "here", first - DAY)
    every = [first + n * DAY for n in range((max(days) - first).days + 1)]
    assert [day for day in every if ecb._is_business_day(day)] == sorted(days)


# A URL with newer ones.


Answer = Callable[[http.server.BaseHTTPRequestHandler], object]


@dataclass
class Bank:
    """A server of rates: `answer` writes what it says, `asked` counts how often it had to."""

    url: str
    answer: Answer
    asked: int = 0
    leave: threading.Event = field(default_factory=threading.Event)


def says(content: bytes, code: int = 200) -> Answer:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        to.send_header("Content-Length", str(len(content)))
        to.end_headers()
        to.wfile.write(content)

    return answer


@pytest.fixture
def bank() -> Iterator[Bank]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.asked += 1
            try:
                there.answer(self)
            except ConnectionError:
                self.close_connection = True  # whoever asked has left

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there = Bank(f"http://127.0.0.1:{server.server_port}/hist.zip?1", says(b""))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        there.leave.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The file that came with the program, in a small."""
    path = tmp_path / "bundle.csv"
    path.write_bytes(csv(NEW_YEAR))
    return path


NEWER: Quoted = {
    **NEW_YEAR,
    date(2022, 1, 3): {"GBP": "0.84135", "USD": "1.1355"},
    date(2022, 1, 4): {"GBP": "0.83618", "USD": "1.1279"},
}
AFTERNOON = datetime(2022, 1, 4, 16, tzinfo=UTC)


@pytest.mark.parametrize("pack", [zipped, bytes])
def test_newer_rates_come_from_the_url(
    bank: Bank, here: Path, pack: Callable[[bytes], bytes]
) -> None:
    bank.answer = says(pack(csv(NEWER)))
    rates = Rates(bank.url, here)
    before = rates.news(None, AFTERNOON.date())
    assert before is not None
    rates.refresh(before.read, AFTERNOON)
    found = rates.news(before.read, AFTERNOON.date())
    assert found is not None
    assert {(r.key, r.rate, r.source, r.carried) for r in found.upserts} == {
        ("2022-01-03 GBP", "0.84135", "127.0.0.1", False),
        ("2022-01-03 USD", "1.1355", "127.0.0.1", False),
        ("2022-01-04 GBP", "0.83618", "127.0.0.1", False),
        ("2022-01-04 USD", "1.1279", "127.0.0.1", False),
    }
    assert (found.deletes, found.added) == ((), 0)
    assert Rates(None, here).news(found.read, AFTERNOON.date()) is None
    gone_on = Rates(None, here).news(found.read, AFTERNOON.date() + DAY)
    assert gone_on is not None, "without the URL it goes on from what the lake has"
    assert {(r.currency, r.rate) for r in gone_on.upserts} == {
        ("EUR", "1"),
        ("GBP", "0.83618"),
        ("USD", "1.1279"),
    }


def test_a_file_is_read_like_a_url(here: Path, tmp_path: Path) -> None:
    path = tmp_path / "of today.zip"
    path.write_bytes(zipped(csv(NEWER)))
    rates = Rates(path.as_uri(), here)
    rates.refresh(None, AFTERNOON)
    found = rates.news(None, AFTERNOON.date())
    assert found is not None
    assert {quote.source for quote in found.read.quotes} == {"file"}


def test_the_url_is_asked_only_where_it_may_have_newer_ones_and_now_and_then(
    bank: Bank, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank.answer = says(csv(NEW_YEAR))
    rates = Rates(bank.url, here)
    before = rates.news(None, FIRST_DAY)
    assert before is not None
    rates.refresh(before.read, datetime(2022, 1, 2, 16, tzinfo=UTC))
    assert bank.asked == 0, "a weekend has none"
    rates.refresh(before.read, AFTERNOON)
    rates.refresh(before.read, AFTERNOON)
    assert bank.asked == 1
    monkeypatch.setattr("totes.rates.AGAIN_SECONDS", 0)
    bank.answer = says(csv(NEWER))
    rates.refresh(before.read, AFTERNOON)
    rates.refresh(before.read, AFTERNOON)
    assert bank.asked == 2, "once they are there, it is left alone"


def silent(bank: Bank) -> Answer:
    return lambda _: bank.leave.wait()


def dripping(to: http.server.BaseHTTPRequestHandler) -> None:
    """A byte now and then, each in time."""
    to.send_response(200)
    to.end_headers()
    while True:
        to.wfile.write(b"D")
        to.wfile.flush()
        threading.Event().wait(0.02)


def cut(to: http.server.BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Length", "1000000")
    to.end_headers()
    to.wfile.write(csv(NEWER))
    to.close_connection = True


FAILURES: dict[str, tuple[Callable[[Bank], Answer], str]] = {
    "an error": (lambda _: says(b"no", 500), "500"),
    "a lost page": (lambda _: says(b"no", 404), "404"),
    "a page": (lambda _: says(b"<html>Login</html>\n"), "name currencies"),
    "too much": (lambda _: says(b"x" * 5000), "more than 1000 bytes"),
    "too much, packed": (lambda _: says(zipped(b"x" * 5000)), "more than 1000 bytes"),
    "silence": (silent, "timed out"),
    "drops": (lambda _: dripping, "too slowly"),
    "half of it": (lambda _: cut, "IncompleteRead"),
    "too new": (lambda _: says(csv({date(2022, 1, 4): {"USD": "1"}})), "begins too late"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_of_the_url_is_one_warning_and_the_rates_stay(
    bank: Bank,
    here: Path,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ecb, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(ecb, "MOST_BYTES", 1000)
    failure, said = FAILURES[what]
    bank.answer = failure(bank)
    rates = Rates(bank.url, here)
    before = rates.news(None, FIRST_DAY)
    assert before is not None
    with caplog.at_level(logging.INFO, "totes"):
        rates.refresh(before.read, AFTERNOON)
        rates.refresh(before.read, AFTERNOON)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "No newer exchange rates from 127.0.0.1" in record.getMessage()
    assert re.search(said, record.getMessage())
    assert "\n" not in record.getMessage()
    assert rates.news(before.read, FIRST_DAY) is None


def test_a_server_that_is_away_or_a_missing_file_is_a_warning_too(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://127.0.0.1:1/hist.zip", "file:///nowhere/hist.zip"):
        Rates(url, here).refresh(None, AFTERNOON)
    assert ["refused" in r.getMessage() or "No such file" in r.getMessage() for r in caplog.records]
    assert len(caplog.records) == 2


def test_a_bundle_that_can_not_be_read_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Rates(None, tmp_path / "none.zip").news(None, FIRST_DAY) is None
    assert "that come with the program can't be read" in caplog.text


# Through the whole platform.


@dataclass
class Days:
    """What the platform knows of the rates, and its source's day, which tests move."""

    installation: Installation
    url: Path
    move: Callable[[int], None]
    first: date

    def publish(self, quoted: Quoted) -> None:
        """Beside what came with the program, at the URL."""
        self.url.write_bytes(csv({**BUNDLE, **quoted}))

    def run(self) -> list[int]:
        """The batches of a run that begins anew, as after a restart."""
        rates = self.installation.rates and Rates(
            self.url.as_uri(), self.url.with_name("bundle.csv")
        )
        pipeline = replace(self.installation.pipeline, rates=rates)
        return [done.batch for done in run_once(pipeline) if done.stage == "load" and done.batch]

    def rates(self, day: date) -> dict[str, tuple[Decimal, str, bool]]:
        found = self.installation.ask(
            "SELECT currency_code, rate, source, carried_forward FROM current_exchange_rate"
            f" WHERE rate_date = '{day}'"
        )
        return {code: (rate, source, carried) for code, rate, source, carried in found}

    def batches(self) -> list[Manifest]:
        return lake_reader.batches(self.installation.pipeline.ingestion)


BUNDLE: Quoted = {
    date(2021, 12, 31): {"GBP": "0.84028", "USD": "1.1326"},
    date(2022, 11, 3): {"GBP": "0.87228", "USD": "0.9753"},
    date(2022, 11, 30): {"GBP": "0.85498", "USD": "1.0826"},
}
EURO = (Decimal(1), DEFINITION, False)


@pytest.fixture
def days(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Days:
    """A platform with rates, whose source is on the first day, from its morning to its evening."""
    (tmp_path / "bundle.csv").write_bytes(csv(BUNDLE))
    query, first = snapshot._LOOK, date(2022, 12, 1)

    def move(ahead: int) -> None:
        clock = f"(date '{first + ahead * DAY}' + time '06:00' + (now() - now()::date) / 2)"
        moved = query.replace("clock_timestamp()", f"{clock}::timestamptz")
        monkeypatch.setattr(snapshot, "_LOOK", moved)

    move(0)
    made = Days(replace(installation, rates=Rates()).filled(40), tmp_path / "url.csv", move, first)
    made.publish({})
    return made


def test_each_day_brings_one_batch_and_a_real_rate_another(days: Days) -> None:
    assert days.run() == [1]
    pounds = Decimal("0.85498")
    dollars = (Decimal("1.0826"), BUNDLED, True)
    assert days.rates(days.first) == {"EUR": EURO, "GBP": (pounds, BUNDLED, True), "USD": dollars}
    counted = "SELECT count(*), count(DISTINCT rate_id), min(rate_date) FROM current_exchange_rate"
    rows = 3 * ((days.first - FIRST_DAY).days + 1)
    assert days.installation.ask(counted) == [(rows, rows, FIRST_DAY)]
    assert days.run() == [], "the day has its rates"
    days.move(1)
    assert (days.run(), days.run()) == ([2], [])
    [table] = [table for table in days.batches()[1].tables if table.files]
    assert (table.name, table.rows, table.whole) == (RATES, rows + 3, False)
    days.publish({days.first: {"GBP": "0.9", "USD": "1.5"}})
    assert (days.run(), days.run()) == ([3], [])
    assert days.rates(days.first + DAY) == {
        "EUR": EURO,
        "GBP": (Decimal("0.9"), "file", True),
        "USD": (Decimal("1.5"), "file", True),
    }
    history = days.installation.ask(
        "SELECT rate, carried_forward, valid_to IS NULL FROM fact_exchange_rate"
        f" WHERE rate_id = '{days.first} GBP' ORDER BY valid_from"
    )
    assert history == [(pounds, True, False), (Decimal("0.9"), False, True)]
    current, days_told = "SELECT count(*) FROM current_exchange_rate", (days.first - FIRST_DAY).days
    assert days.installation.ask(current) == [(3 * (days_told + 2),)]
    assert days.installation.ask(
        "SELECT count(*) FROM exchange_rate_to('USD')"
    ) == days.installation.ask(current)
    before = days.installation.ask(
        "SELECT rate FROM exchange_rate_as_of((SELECT captured_at FROM totes.batches"
        f" WHERE batch = 2)) WHERE rate_id = '{days.first} GBP'"
    )
    assert before == [(pounds,)]
    assert verify(days.installation.pipeline).equal


def test_rates_come_with_what_else_is_new_and_without(days: Days) -> None:
    days.run()
    days.move(1)
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert days.run() == [2]
    assert {table.name for table in days.batches()[1].tables if table.files} == {"design", RATES}
    days.installation.change("UPDATE design SET file_name = 'newer' WHERE design_id = 1")
    assert days.run() == [3]
    [table] = [table for table in days.batches()[2].tables if table.files]
    assert table.name == "design"
    assert days.batches()[2].rates == without_files(days.batches()[1])


def without_files(batch: Manifest) -> Table | None:
    return batch.rates and batch.rates.model_copy(update={"files": (), "whole": False})


def test_switched_off_the_rates_stay_as_they_are_and_go_on_when_switched_on(days: Days) -> None:
    days.run()
    off = replace(days, installation=replace(days.installation, rates=None))
    days.move(2)
    assert off.run() == []
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert off.run() == [2]
    assert days.batches()[1].rates == without_files(days.batches()[0])
    assert (off.rates(days.first + DAY), days.run()) == ({}, [3])
    assert days.rates(days.first + DAY).keys() == {"EUR", "GBP", "USD"}
    assert days.batches()[2].former == ()
    shown = status(
        days.installation.pipeline.ingestion,
        days.installation.pipeline.processed,
        days.installation.warehouse,
    )
    assert shown.schema_changes == (), "the rates are no table of the source's"


def test_a_lake_and_a_warehouse_without_rates_get_them(days: Days) -> None:
    """What an upgrade finds."""
    off = replace(days, installation=replace(days.installation, rates=None))
    off.run()
    days.installation.ask("DROP TABLE fact_exchange_rate CASCADE")
    with pytest.raises(WarehouseError, match=r"lacks table fact_exchange_rate.*migrate`"):
        days.run()
    assert days.installation.totes("warehouse", "migrate").exit_code == 0
    assert days.run() == [2]
    assert days.rates(days.first).keys() == {"EUR", "GBP", "USD"}
    shown = status(
        days.installation.pipeline.ingestion,
        days.installation.pipeline.processed,
        days.installation.warehouse,
    )
    assert shown.schema_changes == ()


def test_of_two_that_bring_rates_one_does(days: Days) -> None:
    def rival() -> None:
        days.run()

    with at("ingest.before-manifest", once(rival)):
        assert days.run() == []
    assert [batch.batch for batch in days.batches()] == [1]
    named = {file.path for table in days.batches()[0].tables for file in table.files}
    left = {orphan.key for orphan in orphans(FolderStore(days.installation.ingestion))}
    assert any(key.startswith(f"{RATES}/") for key in left), "the rival's file"
    assert not left & named


def test_another_source_has_the_same_rates(days: Days) -> None:
    days.run()
    store = days.installation.pipeline.ingestion
    manifest, path = days.batches()[0], days.installation.ingestion / "batches" / f"{1:012d}.json"
    other = manifest.identity.model_copy(update={"timeline": 7})
    path.unlink()
    path.write_bytes(manifest.model_copy(update={"identity": other}).to_json())
    with pytest.raises(SourceError, match="--accept-new-source"):
        days.run()
    found = ingest(
        days.installation.source,
        store,
        Scope(),
        rates=Rates(None, days.url.with_name("bundle.csv")),
        accept=Accept(new_source=True),
    )
    assert found.batch is not None
    assert found.batch.rates == without_files(manifest)
    assert all(table.whole for table in found.batch.captured)
    assert found.batch.former == ()


def test_a_source_that_stands_still_has_new_rates_all_the_same(days: Days) -> None:
    """No transaction since, so nothing is scanned: but the day is another."""

    def capture() -> Manifest | None:
        rates = Rates(None, days.url.with_name("bundle.csv"))
        store = days.installation.pipeline.ingestion
        return ingest(days.installation.source, store, Scope(), rates=rates).batch

    first = capture()
    assert (first is not None, capture()) == (True, None)
    days.move(1)
    second = capture()
    assert second is not None
    assert [table.name for table in second.tables if table.files] == [RATES]


def test_an_older_program_in_between_costs_the_rates_nothing(days: Days) -> None:
    """It takes their table for one of the source's that was dropped."""
    days.run()
    before = checksums(days.installation.warehouse)["fact_exchange_rate"]
    [first] = days.batches()
    lost = without_files(first)
    assert lost is not None
    left = Former(table=lost.model_copy(update={"rates": None}), since=2, reason="absent")
    update = {"files": (), "whole": False}
    older = first.model_copy(
        update={
            "batch": 2,
            "previous": digest(first.to_json()),
            "captured_at": first.captured_at + timedelta(seconds=1),
            "tables": tuple(table.model_copy(update=update) for table in first.captured),
            "former": (left,),
        }
    )
    assert days.installation.pipeline.ingestion.create(manifest_path(2), older.to_json())
    days.installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    assert days.run() == [2, 3]
    assert days.batches()[2].former == ()
    assert checksums(days.installation.warehouse)["fact_exchange_rate"] == before


def test_a_source_table_of_that_name_is_refused_until_it_is_excluded(days: Days) -> None:
    days.run()
    days.installation.change(f"CREATE TABLE {RATES} (id int PRIMARY KEY)")
    days.installation.change(f"GRANT SELECT ON {RATES} TO totes_ingest")
    for one in (days, replace(days, installation=replace(days.installation, rates=None))):
        with pytest.raises(SourceError, match=f"a table {RATES}, .*TOTES_EXCLUDE_TABLES") as error:
            one.run()
        assert "\n" not in str(error.value)
    days.move(1)
    excluding = replace(days.installation.pipeline, scope=Scope(exclude=(RATES,)))
    bundled = replace(excluding, rates=Rates(None, days.url.with_name("bundle.csv")))
    assert [done.batch for done in run_once(bundled)] == [2, 2, 2]


def test_release_erasure_and_replay_leave_the_rates_as_they_are(days: Days) -> None:
    days.run()
    days.installation.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    days.run()
    days.publish({days.first: {"GBP": "0.9"}})
    days.move(1)
    days.run()
    release(days.installation.pipeline.ingestion, [2])
    days.run()
    assert days.batches()[3].rates == without_files(days.batches()[2])
    arguments = ["staff", "1", "--columns", "first_name", "--into", str(days.url.parent / "anew")]
    assert days.installation.totes("erase", *arguments).exit_code == 0
    anew = FolderStore(days.url.parent / "anew")
    assert [batch.rates for batch in lake_reader.batches(anew)] == [
        batch.rates for batch in days.batches()
    ]
    assert list(orphans(anew)) == []
    before = checksums(days.installation.warehouse)
    assert days.installation.totes("replay").exit_code == 0
    after = checksums(days.installation.warehouse)
    assert after["fact_exchange_rate"] == before["fact_exchange_rate"]
    assert before["fact_exchange_rate"][0] > 3 * (days.first - FIRST_DAY).days


def test_sums_in_one_currency_are_what_decimal_arithmetic_makes_them(days: Days) -> None:
    """Over orders of three currencies, some changed, some deleted, some on days without a rate."""
    days.installation.change(
        "UPDATE sales_order SET created_at = created_at - interval '200 days'"
        " WHERE sales_order_id % 7 = 0;"
        "UPDATE sales_order SET created_at = timestamp '2021-06-01 10:00' WHERE sales_order_id = 3"
    )
    days.run()
    days.installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    days.installation.change("DELETE FROM sales_order WHERE sales_order_id % 5 = 0")
    days.run()
    rates = as_it_is(BUNDLE, days.first)
    with psycopg.connect(days.installation.owner.reveal()) as source:
        orders = source.execute(
            "SELECT s.created_at::date, currency_code, units_sold * unit_price FROM sales_order s"
            " JOIN currency USING (currency_id)"
        ).fetchall()
    assert {code for _, code, _ in orders} == {"GBP", "USD", "EUR"}
    for reporting in ("GBP", "USD", "EUR"):
        total, left = Decimal(0), 0
        with localcontext(prec=80):
            for day, code, amount in orders:
                own, other = rates.get(f"{day} {code}"), rates.get(f"{day} {reporting}")
                if own is None or other is None:
                    left += 1
                    continue
                factor = Decimal(other.rate) / Decimal(own.rate)
                total += amount * factor.quantize(Decimal("1e-24"), ROUND_HALF_UP)
        assert left > 0
        found = days.installation.ask(
            "SELECT sum(s.units_sold * s.unit_price * r.rate), count(*) - count(r.rate)"
            " FROM current_sales_order s JOIN dim_currency c USING (currency_id)"
            f" LEFT JOIN exchange_rate_to('{reporting}') r"
            " ON r.rate_date = s.created_date AND r.currency_code = c.currency_code"
        )
        assert found == [(total, left)]


def test_a_rate_says_where_it_is_from_and_whether_it_was_carried(days: Days) -> None:
    days.publish({days.first: {"USD": "1.25"}})
    days.run()

    def to(reporting: str) -> dict[str, tuple[Decimal, str, bool]]:
        found = days.installation.ask(
            f"SELECT currency_code, rate, source, carried_forward FROM exchange_rate_to"
            f"('{reporting}') WHERE rate_date = '{days.first}'"
        )
        return {code: tuple(rest) for code, *rest in found}

    pounds = Decimal("0.85498")
    assert to("EUR") == {
        "EUR": EURO,
        "GBP": (round(1 / pounds, 24), BUNDLED, True),
        "USD": (Decimal("0.8"), "file", False),
    }
    assert to("GBP") == {
        "EUR": (pounds, BUNDLED, True),
        "GBP": (Decimal(1), BUNDLED, False),
        "USD": (pounds / Decimal("1.25"), f"file, {BUNDLED}", True),
    }
    assert to("USD")["EUR"] == (Decimal("1.25"), "file", False)
    assert to("XXX") == {}


def test_the_settings_say_whether_and_from_where(installation: Installation) -> None:
    assert installation.filled(3).having(rates="on").totes("run", "--once").exit_code == 0
    [(newest,)] = installation.ask("SELECT max(rate_date) FROM current_exchange_rate")
    [(today,)] = installation.ask("SELECT (data_to AT TIME ZONE 'UTC')::date FROM totes.freshness")
    assert newest == today
    for url in ("ftp://host/x", "hist.zip", "https://", "file://host/x"):
        said = installation.having(rates_url=url).totes("status")
        assert said.exit_code == 2
        assert "TOTES_RATES_URL: must be a URL" in said.stderr
