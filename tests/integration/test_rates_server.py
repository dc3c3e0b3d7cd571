"""Newer rates from the ECB's server, and its failures."""

import http.server
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from rates_files import DAY, NEW_YEAR, Quoted, csv, zipped
from rates_server import RatesServer, Respond, respond_with, serve_rates
from s3_service import S3Service

from totes.lake import open_store
from totes.rates import (
    FIRST_DAY,
    RateFeed,
    ecb,
)

pytestmark = pytest.mark.few(3)


@pytest.fixture
def rates_server() -> Iterator[RatesServer]:
    with serve_rates() as server:
        yield server


@pytest.fixture
def bundled_file(tmp_path: Path) -> Path:
    """A small file in place of the one in the package."""
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
    rates_server: RatesServer, bundled_file: Path, pack: Callable[[bytes], bytes]
) -> None:
    rates_server.respond = respond_with(pack(csv(NEWER)))
    feed = RateFeed(rates_server.url, bundled_file)
    first = feed.find_update(None, AFTERNOON.date())
    assert first is not None
    feed.refresh(first.state, AFTERNOON)
    update = feed.find_update(first.state, AFTERNOON.date())
    assert update is not None
    assert {(r.key, r.rate, r.source, r.is_carried_forward) for r in update.upserts} == {
        ("2022-01-03 GBP", "0.84135", "127.0.0.1", False),
        ("2022-01-03 USD", "1.1355", "127.0.0.1", False),
        ("2022-01-04 GBP", "0.83618", "127.0.0.1", False),
        ("2022-01-04 USD", "1.1279", "127.0.0.1", False),
    }
    assert (update.deletes, update.added) == ((), 0)
    assert RateFeed(None, bundled_file).find_update(update.state, AFTERNOON.date()) is None
    next_day = RateFeed(None, bundled_file).find_update(update.state, AFTERNOON.date() + DAY)
    assert next_day is not None, "without the URL, the last rates in the lake are carried forward"
    assert {(r.currency, r.rate) for r in next_day.upserts} == {
        ("EUR", "1"),
        ("GBP", "0.83618"),
        ("USD", "1.1279"),
    }


def test_a_file_url_is_read_like_an_http_url(bundled_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "of today.zip"
    path.write_bytes(zipped(csv(NEWER)))
    feed = RateFeed(path.as_uri(), bundled_file)
    feed.refresh(None, AFTERNOON)
    update = feed.find_update(None, AFTERNOON.date())
    assert update is not None
    assert {quote.source for quote in update.state.quotes} == {"file"}


def test_the_url_is_requested_only_if_newer_rates_are_expected_and_not_too_often(
    rates_server: RatesServer, bundled_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates_server.respond = respond_with(csv(NEW_YEAR))
    feed = RateFeed(rates_server.url, bundled_file)
    first = feed.find_update(None, FIRST_DAY)
    assert first is not None
    feed.refresh(first.state, datetime(2022, 1, 2, 16, tzinfo=UTC))
    assert rates_server.requests == 0, "no rates are published on weekends"
    feed.refresh(first.state, AFTERNOON)
    feed.refresh(first.state, AFTERNOON)
    assert rates_server.requests == 1
    monkeypatch.setattr("totes.rates.REQUEST_INTERVAL_SECONDS", 0)
    rates_server.respond = respond_with(csv(NEWER))
    feed.refresh(first.state, AFTERNOON)
    feed.refresh(first.state, AFTERNOON)
    assert rates_server.requests == 2, "no request after the newest rates were fetched"


def no_response(rates_server: RatesServer) -> Respond:
    return lambda _: rates_server.stopped.wait()


def slow_response(to: http.server.BaseHTTPRequestHandler) -> None:
    """Send one byte at a time, each before a timeout."""
    to.send_response(200)
    to.end_headers()
    while True:
        to.wfile.write(b"D")
        to.wfile.flush()
        threading.Event().wait(0.02)


def incomplete_response(to: http.server.BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Length", "1000000")
    to.end_headers()
    to.wfile.write(csv(NEWER))
    to.close_connection = True


FAILURES: dict[str, tuple[Callable[[RatesServer], Respond], str]] = {
    "status 500": (lambda _: respond_with(b"no", 500), "500"),
    "status 404": (lambda _: respond_with(b"no", 404), "404"),
    "a web page": (lambda _: respond_with(b"<html>Login</html>\n"), "list of currencies"),
    "too large": (lambda _: respond_with(b"x" * 5000), "more than 1000 bytes"),
    "too large, zipped": (lambda _: respond_with(zipped(b"x" * 5000)), "more than 1000 bytes"),
    "no response": (no_response, "timed out"),
    "a slow response": (lambda _: slow_response, "took longer than"),
    "an incomplete response": (lambda _: incomplete_response, "IncompleteRead"),
    "a gap before the first day": (
        lambda _: respond_with(csv({date(2022, 1, 4): {"USD": "1"}})),
        "after a gap",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failed_request_is_one_warning_and_the_rates_stay_in_use(
    rates_server: RatesServer,
    bundled_file: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ecb, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(ecb, "MAX_BYTES", 1000)
    make_respond, message = FAILURES[kind]
    rates_server.respond = make_respond(rates_server)
    feed = RateFeed(rates_server.url, bundled_file)
    first = feed.find_update(None, FIRST_DAY)
    assert first is not None
    with caplog.at_level(logging.INFO, "totes"):
        feed.refresh(first.state, AFTERNOON)
        feed.refresh(first.state, AFTERNOON)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "No newer exchange rates from 127.0.0.1" in record.getMessage()
    assert re.search(message, record.getMessage())
    assert "\n" not in record.getMessage()
    assert feed.find_update(first.state, FIRST_DAY) is None


def test_an_unreachable_server_or_a_missing_file_is_a_warning(
    bundled_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for url in ("http://127.0.0.1:1/hist.zip", "file:///nowhere/hist.zip"):
        RateFeed(url, bundled_file).refresh(None, AFTERNOON)
    assert ["refused" in r.getMessage() or "No such file" in r.getMessage() for r in caplog.records]
    assert len(caplog.records) == 2


@pytest.fixture
def bucket(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> str:
    service.environment(monkeypatch)
    return service.new_bucket()


def test_the_newest_file_below_a_prefix_of_a_bucket_is_read(
    bucket: str, bundled_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"s3://{bucket}/rates")
    for name, content in {
        "2021-12-31.zip": zipped(csv(NEW_YEAR)),
        "2022-01-04.zip": zipped(csv(NEWER)),
        "2022-02-02.txt": b"not a file of a day",
        "2022-2-2.zip": b"nor this",
        "latest.zip": b"nor this",
        "other/2022-03-03.zip": b"nor this",
    }.items():
        assert store.create(name, content)
    feed = RateFeed(f"s3://{bucket}/rates", bundled_file)
    feed.refresh(None, AFTERNOON)
    update = feed.find_update(None, AFTERNOON.date())
    assert not caplog.messages
    assert update is not None
    assert update.state.actual == date(2022, 1, 4)
    assert {quote.source for quote in update.state.quotes} == {bucket}


def test_a_prefix_without_a_file_is_no_warning_and_the_package_is_used(
    bucket: str, bundled_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feed = RateFeed(f"s3://{bucket}/rates", bundled_file)
    with caplog.at_level(logging.INFO, "totes"):
        feed.refresh(None, AFTERNOON)
    [record] = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        f"There are no exchange rates in {bucket} yet: those of the package are used."
    )
    assert feed.find_update(None, FIRST_DAY) is not None


def test_a_missing_bucket_is_a_warning(
    bucket: str, bundled_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    feed = RateFeed(f"s3://{bucket}-missing/rates", bundled_file)
    feed.refresh(None, AFTERNOON)
    [message] = caplog.messages
    reason = "there is no such bucket: create it or correct the URL"
    assert re.match(rf"No newer exchange rates from {bucket}.*{reason}", message)
    assert feed.find_update(None, FIRST_DAY) is not None


def test_an_unreadable_file_in_the_package_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert RateFeed(None, tmp_path / "none.zip").find_update(None, FIRST_DAY) is None
    assert "in the package can't be read" in caplog.text
