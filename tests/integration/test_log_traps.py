"""Traps of reading the write-ahead log: no row is wrong or missing, whatever happens."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

import lake_reader
import psycopg
import pytest
from log_source import WAIT_SECONDS, LogSource, entry
from scratch_source import once
from stage_fixtures import AtFailpoint

from totes.errors import SourceError
from totes.lake.manifest import manifest_path
from totes.source.log import slot_creation
from totes.stages.ingest import AcceptOptions, ingest

pytestmark = pytest.mark.few(4)


@pytest.mark.few(1)
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
    log_source: LogSource, at_failpoint: AtFailpoint
) -> None:
    """The log is read while the table is still scanned; the transaction is not visible yet."""
    source = log_source.begin_item()
    source.run("CREATE TABLE other (id int PRIMARY KEY)")
    source.publish("other")
    at_failpoint("source.snapshot-taken", once(lambda: source.run("INSERT INTO other VALUES (1)")))
    assert not entry(source.read_batch(), "other").of_log
    source.run("INSERT INTO other VALUES (2)")
    assert [line["id"] for line in source.lines_in_log("other")] == [1, 2]
    source.check_lake("item", "other")


@pytest.mark.few(1)
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


def take_id(connection: psycopg.Connection) -> None:
    connection.execute("SELECT pg_current_xact_id()")


def test_versions_after_the_first_batch_are_in_the_log_whatever_is_open_then(
    log_source: LogSource, at_failpoint: AtFailpoint
) -> None:
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY, n int); INSERT INTO item VALUES (1, 0)")
    source.publish("item")
    with source.open() as other:
        other.execute("SELECT 1")
        at_failpoint("source.catalogue-read", once(lambda: take_id(other)))
        source.read_batch()
        source.run("UPDATE item SET n = 1")
        source.run("UPDATE item SET n = 2")
        assert [line["n"] for line in source.lines_in_log()] == [1, 2]


def test_a_new_slot_waits_for_commits_that_are_not_visible_yet(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit may be in the log and wait for a standby: no session sees it meanwhile."""
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY, n int); INSERT INTO item VALUES (1, 0)")
    source.publish("item")
    with ExitStack() as stack:
        advance, wait = (
            slot_creation._advance_past_creation,
            slot_creation._wait_for_running_transactions,
        )

        def advance_past_commit(*arguments: Any) -> int:
            stack.enter_context(invisible_commit(source, "UPDATE item SET n = 1"))
            return advance(*arguments)

        def wait_for_commit(*arguments: Any) -> None:
            stack.close()  # at the wait after the advance
            wait(*arguments)

        monkeypatch.setattr(slot_creation, "_advance_past_creation", advance_past_commit)
        monkeypatch.setattr(slot_creation, "_wait_for_running_transactions", wait_for_commit)
        source.read_batch()
    source.run("INSERT INTO item VALUES (2, 0)")
    source.read_batch()
    source.check_lake()


@contextmanager
def invisible_commit(source: LogSource, statement: str) -> Iterator[None]:
    """Commit a transaction that is invisible until the end of the block, but is in the log."""
    source.administer(
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"
    )
    source.wait_for("SELECT current_setting('synchronous_standby_names') = 'nobody'")
    with source.open() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("SET client_min_messages = error")
        connection.execute(statement.encode())
        committed = pool.submit(connection.commit)
        process = connection.info.backend_pid
        source.wait_for(
            "SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = %s", process
        )
        try:
            yield
        finally:
            source.administer(
                "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"
            )
            committed.result()


@pytest.mark.few(1)
def test_a_commit_that_is_not_visible_yet_is_in_a_later_batch(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    with invisible_commit(source, "UPDATE item SET price = 1 WHERE id = 1"):
        assert source.ask("SELECT price <> 1 FROM scratch.item WHERE id = 1")
        source.run("SET LOCAL synchronous_commit = local; UPDATE item SET price = 2 WHERE id = 2")
        assert [line["id"] for line in source.lines_in_log()] == [2]
        source.check_lake()
        source.run("SET LOCAL synchronous_commit = local; UPDATE item SET price = 3 WHERE id = 3")
        assert [line["id"] for line in source.lines_in_log()] == [3]
    source.new_reader()
    assert [line["id"] for line in source.lines_in_log()] == [1]
    source.check_lake()


@pytest.mark.few(1)
def test_the_log_is_read_to_its_end_where_that_is_the_end_of_a_page(
    any_log_source: LogSource, at_failpoint: AtFailpoint
) -> None:
    """The insert position is then after the header of the next page, and no record ends there."""
    source = any_log_source.begin_item()
    source.reader.quiet_seconds = 1.0
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    with psycopg.connect(source.admin.reveal(), autocommit=True) as connection:
        at_failpoint("source.snapshot-taken", once(lambda: fill_page(connection)))
        batch = source.read_batch()
    assert batch.log is not None
    assert batch.log.ahead == ()


def fill_page(connection: psycopg.Connection) -> None:
    """Write to the log until a record ends where its page does."""
    for size_of_rest in range(40, 120):  # of the message's record, without its content
        connection.execute(
            "SELECT pg_logical_emit_message(false, '', repeat('x', (8192 - %s::int"
            " - (pg_current_wal_insert_lsn() - '0/0')::bigint %% 8192)::int))",
            [size_of_rest],
        )
        position = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint % 8192"
        if connection.execute(position).fetchall() == [(24,)]:  # after the header
            return
    pytest.fail("no record ended with its page")


TRUNCATED = [
    ("TRUNCATE item", {"1", "2", "3"}),
    ("INSERT INTO item VALUES (4); DELETE FROM item WHERE id = 1; TRUNCATE item", {"2", "3", "4"}),
    ("TRUNCATE item; INSERT INTO item VALUES (2)", {"1", "2", "3"}),
    ("TRUNCATE item; INSERT INTO item VALUES (5); TRUNCATE item", {"1", "2", "3", "5"}),
    ("UPDATE item SET id = 9 WHERE id = 3; TRUNCATE item", {"1", "2", "9"}),
]


@pytest.mark.parametrize(("script", "deleted"), TRUNCATED)
def test_a_truncation_deletes_the_keys_that_are_live_then(
    log_source: LogSource, script: str, deleted: set[str]
) -> None:
    source = log_source.begin_item()
    source.run(script)
    lines = source.lines_in_log()
    last = [line for line in lines if line["_op"] == "delete"]
    assert {str(line["id"]) for line in last} >= deleted
    source.check_lake()
    source.check_scan_finds_nothing()


def test_a_truncation_of_an_empty_table_is_recorded_once(log_source: LogSource) -> None:
    source = log_source.begin_item(rows=0)
    source.run("TRUNCATE item")
    batch = source.read_batch()
    assert (batch.rows, entry(batch).rows) == (0, 0)
    source.run("SELECT pg_current_xact_id()")
    result = source.read_log()
    assert (result.batch, result.has_scanned) == (None, False)


def test_a_truncation_after_a_savepoint_is_scanned(log_source: LogSource) -> None:
    """The log does not have the subtransaction's id, by which the table's row is known."""
    source = log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1; SAVEPOINT s; TRUNCATE item")
    assert not entry(source.read_batch()).of_log
    source.check_lake()


def test_a_different_source_is_captured_whole_and_its_log_begun_anew(log_source: LogSource) -> None:
    source = log_source.begin_item()
    first = lake_reader.batches(source.store)[0]
    as_of_other = first.model_copy(
        update={"batch": 2, "identity": first.identity.model_copy(update={"timeline": 7})}
    )
    source.store.create(manifest_path(2), as_of_other.to_json())
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    with pytest.raises(SourceError, match="accept-new-source"):
        source.read_log()
    accept = AcceptOptions(new_source=True)
    batch = ingest(
        source.dsn, source.store, source.scope, log_reader=source.reader, accept=accept
    ).batch
    assert batch is not None
    assert entry(batch).whole
    assert batch.log is None
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    assert not entry(source.read_batch()).of_log
    source.run("UPDATE item SET price = 3 WHERE id = 1")
    assert len(source.lines_in_log()) == 1
    source.check_lake()
