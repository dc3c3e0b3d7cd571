"""Traps of reading the write-ahead log: no row is wrong or missing, whatever happens."""

import time

import pytest
from log_source import WAIT_SECONDS, LogSource, entry


def test_every_version_is_in_the_log(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    source.run("UPDATE item SET price = 2 WHERE id = 1; DELETE FROM item WHERE id = 2")
    source.run("INSERT INTO item VALUES (2, 'again', 3)")
    lines = source.lines_in_log()
    assert [(line["_op"], line["id"], line.get("price")) for line in lines] == [
        ("upsert", 1, "1"), ("upsert", 1, "2"), ("delete", 2, None), ("upsert", 2, "3"),
    ]
    source.check_lake()
    source.check_scan_finds_nothing()


def test_waiting_for_a_transaction_loses_none(log_source: LogSource) -> None:
    from threading import Event
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
