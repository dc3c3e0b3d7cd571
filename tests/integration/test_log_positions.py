"""Up to where the lake has the log: positions without changes, other slots, passing errors."""

from collections.abc import Iterator
from datetime import timedelta

import lake_reader
import psycopg
import pytest
from log_source import LogSource, entry

from totes.errors import SourceError, SourceUnavailable
from totes.lake.lsn import format_lsn
from totes.lake.manifest import LogState
from totes.source.log.stream import LogStream
from totes.source.snapshot import open_snapshot
from totes.stages import ingest as stage
from totes.stages.ingest import is_different_source


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every capture without changes store a heartbeat, and the position in the log."""
    monkeypatch.setattr(stage, "HEARTBEAT_INTERVAL", timedelta())


def confirmed(source: LogSource) -> int:
    """Return the position that the slot has confirmed."""
    query = (
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots"
        " WHERE slot_name = %s"
    )
    return int(source.ask(query, source.slot))


def check_continues(source: LogSource) -> None:
    """Check that a new process reads the next change from the log, without a gap."""
    source.new_reader()
    source.run("UPDATE item SET price = price + 1")
    batch = source.read_batch()
    assert entry(batch).of_log
    assert batch.log is not None
    assert batch.log.gap is None


def confirm_without_changes(source: LogSource) -> None:
    """Read the log without changes; the slot confirms a position after that of the batch."""
    before = confirmed(source)
    source.administer("CREATE TABLE other (); DROP TABLE other")
    assert source.read_log().batch is None
    assert confirmed(source) > before


@pytest.mark.few(1)
@pytest.mark.usefixtures("always_due")
def test_a_position_is_found_however_long_ago_it_was_confirmed(
    any_log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = any_log_source.begin_item()
    confirm_without_changes(source)
    # Heartbeats are found by their day.
    monkeypatch.setattr("totes.lake.manifests.heartbeat_prefix", lambda _: "heartbeats/year=1999/")
    check_continues(source)


@pytest.mark.usefixtures("always_due")
def test_a_heartbeat_of_a_scan_hides_no_position(log_source: LogSource) -> None:
    source = log_source.begin_item()
    confirm_without_changes(source)
    source.run("SELECT pg_current_xact_id()")
    assert source.capture() is None
    check_continues(source)


@pytest.mark.usefixtures("always_due")
def test_a_batch_of_a_scan_keeps_the_position(log_source: LogSource) -> None:
    source = log_source.begin_item()
    confirm_without_changes(source)
    source.run("UPDATE item SET price = 7 WHERE id = 2")
    assert source.capture() is not None
    check_continues(source)


def test_a_slot_that_the_lake_has_no_record_of_is_not_replaced(log_source: LogSource) -> None:
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY)")
    source.publish("item")
    source.ask("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", source.slot)
    before = confirmed(source)
    with pytest.raises(SourceError, match="was not created for this lake"):
        source.read_log()
    assert confirmed(source) == before
    source.drop_slot()
    assert source.read_batch().log is not None


def test_an_error_that_may_pass_does_not_replace_the_slot(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    read = LogStream.messages

    def fail(*_: object) -> Iterator[bytes]:
        raise psycopg.errors.DiskFull("could not write the spill file")
        yield b""

    for _ in range(2):
        monkeypatch.setattr(LogStream, "messages", fail)
        with pytest.raises(SourceUnavailable, match="could not write the spill file: try again"):
            source.read_log()
    monkeypatch.setattr(LogStream, "messages", read)
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    assert [line["price"] for line in source.lines_in_log()] == ["1", "2"]


def test_an_error_that_persists_replaces_the_slot(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")

    def fail(*_: object) -> Iterator[bytes]:
        raise psycopg.errors.InternalError_("unexpected duplicate for tablespace")
        yield b""

    monkeypatch.setattr(LogStream, "messages", fail)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="unexpected duplicate"):
            source.read_log()
    batch = source.read_batch()
    assert batch.log is not None
    assert "unexpected duplicate" in (batch.log.gap or "")
    source.check_lake()


@pytest.mark.parametrize("sees", [True, False])
def test_a_snapshot_without_a_transaction_of_the_batch_is_of_an_older_state(
    log_source: LogSource, *, sees: bool
) -> None:
    """Such as that of a standby that lags."""
    source = log_source.begin_item()
    batch = lake_reader.batches(source.store)[-1]
    with open_snapshot(source.dsn, source.scope) as snapshot:
        transaction = snapshot.xmax - 1 if sees else snapshot.xmax
        log = LogState(slot="s", position=format_lsn(1), ahead=(transaction,))
        previous = batch.model_copy(update={"log": log})
        assert is_different_source(previous, snapshot) is not sees


def test_a_scan_without_the_publication_says_that_versions_may_be_missing(
    log_source: LogSource,
) -> None:
    source = log_source.begin_item()
    source.administer("DROP PUBLICATION totes")
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    batch = source.read_batch()
    assert batch.log is not None
    assert batch.log.gap == "publication totes does not exist"
    source.check_lake()
