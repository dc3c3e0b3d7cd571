"""Traps of reading the write-ahead log: no row is wrong or missing, whatever happens."""

import time
from collections.abc import Callable
from threading import Event

import pytest
from log_source import WAIT_SECONDS, LogSource, entry
from scratch_source import once

from totes import failpoint

At = Callable[[str, Callable[[], None]], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """A function that sets the action of a failpoint."""

    def act(fail_point: str, action: Callable[[], None]) -> None:
        monkeypatch.setitem(failpoint.actions, fail_point, action)

    return act


def test_every_version_is_in_the_log(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    source.run("UPDATE item SET price = 2 WHERE id = 1; DELETE FROM item WHERE id = 2")
    source.run("INSERT INTO item VALUES (2, 'again', 3)")
    lines = source.lines_in_log()
    assert [(line["_op"], line["id"], line.get("price")) for line in lines] == [
        ("upsert", 1, "1"),
        ("upsert", 1, "2"),
        ("delete", 2, None),
        ("upsert", 2, "3"),
    ]
    source.check_lake()
    source.check_scan_finds_nothing()


def test_waiting_for_a_transaction_loses_none(log_source: LogSource) -> None:

    source = log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    source.reader.wait(10, Event())
    assert len(source.lines_in_log()) == 1
    source.check_lake()


def test_a_reader_that_never_waits_makes_progress(log_source: LogSource) -> None:
    source = log_source.begin_item()
    source.reader.quiet_seconds = 0
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    deadline = time.monotonic() + WAIT_SECONDS
    while source.read_log().batch is None:
        assert time.monotonic() < deadline
    source.check_lake()


def test_a_transaction_after_the_first_scan_of_a_table_is_in_the_next_batch(
    log_source: LogSource, at: At
) -> None:
    """The log is read while the table is still scanned; the transaction is not visible yet."""
    source = log_source.begin_item()
    source.run("CREATE TABLE other (id int PRIMARY KEY)")
    source.publish("other")
    at("source.snapshot-taken", once(lambda: source.run("INSERT INTO other VALUES (1)")))
    assert not entry(source.read_batch(), "other").of_log
    source.run("INSERT INTO other VALUES (2)")
    assert [line["id"] for line in source.lines_in_log("other")] == [1, 2]
    source.check_lake("item", "other")


def test_a_log_that_cannot_be_decoded_is_begun_anew_with_a_gap(any_log_source: LogSource) -> None:
    """Before PostgreSQL 18, changes from before the publication was made can't be decoded."""
    source = any_log_source.begin_item()
    source.administer(
        "DROP PUBLICATION totes",
        "UPDATE item SET price = 1 WHERE id = 1",
        "CREATE PUBLICATION totes FOR TABLE item",
    )
    source.new_reader()  # as in a new process
    batch = source.read_batch()
    assert not entry(batch).of_log
    is_older = source.ask("SELECT current_setting('server_version_num')::int < 180000")
    assert batch.log is not None
    assert ("can't be decoded" in (batch.log.gap or "")) == is_older
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    assert [line["price"] for line in source.lines_in_log()] == ["2"]
    source.check_lake()
