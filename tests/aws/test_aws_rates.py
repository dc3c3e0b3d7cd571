"""The function that stores the ECB's exchange rates, which ingest reads."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from rates_files import DAY, NEW_YEAR, csv, zipped
from rates_server import RatesServer, respond_with, serve_rates
from s3_service import S3Service

from totes.aws import rates
from totes.aws.rates import handler
from totes.errors import LakeError, LakeUnavailable, UsageError
from totes.lake import Store, open_store
from totes.lake.manifest import table_folder
from totes.rates import RateFeed

TODAY = datetime.now(UTC).date()


@pytest.fixture
def rates_server() -> Iterator[RatesServer]:
    with serve_rates() as server:
        yield server


@pytest.fixture
def store(
    rates_server: RatesServer,
    service: S3Service,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """The ingestion store of the function, which fetches from the server."""
    service.environment(monkeypatch)
    url = f"s3://{service.new_bucket()}"
    monkeypatch.setenv("TOTES_INGESTION_URL", url)
    monkeypatch.setenv("TOTES_RATES_URL", rates_server.url)
    return open_store(url)


def file_until(newest: date, usd: str = "1.1") -> bytes:
    return zipped(csv({**NEW_YEAR, newest: {"USD": usd}}))


def test_the_file_is_stored_under_its_newest_day_and_read_by_ingest(
    store: Store, rates_server: RatesServer, tmp_path: Path
) -> None:
    newest = TODAY - 2 * DAY
    rates_server.respond = respond_with(file_until(newest))
    assert handler({}, None) == {"day": str(newest)}
    assert list(store.list("")) == [f"rates/{newest}.zip"]
    bundled = tmp_path / "bundle.csv"
    bundled.write_bytes(csv(NEW_YEAR))
    feed = RateFeed(f"{store.url}/rates", bundled)
    feed.refresh(None)
    update = feed.find_update(None, TODAY)
    assert update is not None
    assert update.state.actual == newest


def test_no_table_of_totesys_gets_the_folder_of_the_files() -> None:
    assert table_folder("rates") == "%72ates"


def test_each_day_has_one_file_and_the_first_remains(
    store: Store, rates_server: RatesServer
) -> None:
    """The second call of a day, and those of a weekend, find the same newest day."""
    for newest, usd in ((TODAY - DAY, "1.1"), (TODAY - DAY, "9.9"), (TODAY, "1.2")):
        rates_server.respond = respond_with(file_until(newest, usd))
        assert handler({}, None) == {"day": str(newest)}
    assert {key: store.get(key) for key in store.list("")} == {
        f"rates/{TODAY - DAY}.zip": file_until(TODAY - DAY, "1.1"),
        f"rates/{TODAY}.zip": file_until(TODAY, "1.2"),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Sorry</html>",
        file_until(TODAY)[:-30],
        csv({}),
        csv({date(2020, 1, 2): {"USD": "1.1"}}),
        file_until(TODAY + DAY),
    ],
    ids=["empty", "page", "incomplete", "no days", "old days", "the future"],
)
def test_a_file_that_ingest_could_not_use_is_not_stored(
    store: Store, rates_server: RatesServer, content: bytes
) -> None:
    """A day in the future would remain the newest file, which no role can remove."""
    rates_server.respond = respond_with(content)
    assert handler({}, None) == {"day": None}
    assert list(store.list("")) == []


def test_the_log_does_not_say_that_a_file_exists_which_may_have_been_refused(
    store: Store, rates_server: RatesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its role may not read: to it, a file of the day and a store that is busy are the same."""

    def refuse(*_: object) -> None:
        raise LakeUnavailable("The store is busy.")

    lines: list[str] = []
    monkeypatch.setattr(type(store), "create", refuse)
    monkeypatch.setattr(rates.logger, "info", lambda line, *values: lines.append(line % values))
    rates_server.respond = respond_with(file_until(TODAY))
    assert handler({}, None) == {"day": str(TODAY)}
    assert lines[0] == (
        f"The file of {TODAY} exists, or could not be stored: The store is busy. "
        "The next call tries again."
    )


def test_an_ecb_that_is_unavailable_fails_no_call(store: Store, rates_server: RatesServer) -> None:
    rates_server.respond = respond_with(b"", 503)
    assert handler({}, None) == {"day": None}
    assert list(store.list("")) == []


def test_a_store_that_refuses_the_file_fails_the_call(
    store: Store, rates_server: RatesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates_server.respond = respond_with(file_until(TODAY))
    monkeypatch.setenv("TOTES_INGESTION_URL", f"{store.url}-missing")
    with pytest.raises(LakeError, match="no such bucket"):
        handler({}, None)


@pytest.mark.usefixtures("store")
def test_without_a_url_the_call_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOTES_RATES_URL")
    with pytest.raises(UsageError, match="TOTES_RATES_URL is not set"):
        handler({}, None)
