"""Reading the log in operation: killed readers, lost slots, other programs, refusals, shutdown."""

import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import lake_reader
import psycopg
import pytest
from log_source import LOG_SETTINGS, WAIT_SECONDS, LogSource, entry, open_log_source
from scratch_source import once
from test_wraparound import MARGIN, advance_transaction_id

from conftest import ClusterFactory
from totes import failpoint
from totes.embedded.servers import EmbeddedServer
from totes.errors import LakeError, SourceError, SourceUnavailable
from totes.lake.lsn import parse_lsn
from totes.source.log import pgoutput
from totes.source.log import reader as reader_module

pytestmark = pytest.mark.few(3)


def position(source: LogSource) -> int:
    """Return the newest batch's position in the log."""
    log = lake_reader.batches(source.store)[-1].log
    assert log is not None
    return parse_lsn(log.position)


# Interrupted and rival readers


@pytest.mark.few(1)
def test_a_stream_that_the_server_ends_is_opened_again(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    for number in range(2):
        end_streams(source)
        source.run(f"UPDATE item SET price = {number} WHERE id = 1")
        with pytest.raises(SourceUnavailable):
            source.read_log()
        assert len(source.lines_in_log()) == 1
    source.check_lake()


@pytest.mark.few(1)
def test_a_batch_is_published_even_if_the_server_does_not_learn_of_it(
    any_log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = any_log_source.begin_item()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    monkeypatch.setitem(failpoint.actions, "ingest.published", once(lambda: end_streams(source)))
    assert len(source.lines_in_log()) == 1
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    try:
        source.read_batch()
    except SourceUnavailable:
        source.read_batch()
    source.check_lake()


def end_streams(source: LogSource) -> None:
    source.ask(
        "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots"
        " WHERE slot_name = %s AND active",
        source.slot,
    )


@pytest.mark.few(1)
def test_a_stream_that_ends_during_a_batch_loses_and_doubles_nothing(
    any_log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = any_log_source.begin_item()
    for point in ("source.snapshot-taken", "log.read", "ingest.before-manifest"):
        source.run("UPDATE item SET price = price + 1")
        monkeypatch.setitem(failpoint.actions, point, once(lambda: end_streams(source)))
        try:
            source.read_log()
        except SourceUnavailable:
            source.read_log()
        monkeypatch.delitem(failpoint.actions, point)
        source.check_lake()
    source.new_reader()
    assert source.read_log().batch is None
    found = [
        line
        for batch in lake_reader.batches(source.store)[1:]
        for line in lake_reader.lines(source.store, batch, "item")
    ]
    assert len(found) == 9


HOLD = """
import sys, time
from pathlib import Path
from totes.config.dsn import Dsn
from totes.source.log.reader import LogReader
from totes.lake.folder import FolderStore
from totes.stages.ingest import read_newest_manifest
dsn, slot, lake = sys.argv[1:]
reader = LogReader(Dsn(dsn), slot, "totes")
store = FolderStore(Path(lake))
reader.wait_for_slot()
reader.start(read_newest_manifest(store)[0], store)
print("reads", flush=True)
time.sleep(1000)
"""


@pytest.mark.few(1)
def test_the_reader_after_a_killed_one_reads_on(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    source.reader.close()
    command = [sys.executable, "-c", HOLD, source.dsn.reveal(), source.slot, str(source.lake)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reads\n"
        source.run("UPDATE item SET price = 1 WHERE id = 1")
        process.send_signal(signal.SIGSTOP)  # its connections stay open
        batch: list[object] = []
        thread = threading.Thread(target=lambda: batch.extend(source.lines_in_log()))
        thread.start()
        source.wait_for(
            "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        process.kill()
        thread.join()
    assert len(batch) == 1
    source.check_lake()


@pytest.mark.few(1)
def test_two_readers_take_turns(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    one, other = source.reader, source.new_reader()
    errors: list[BaseException] = []
    stop = Event()

    def read_on() -> None:
        try:
            while not stop.is_set():
                source.read_log(other)
                other.wait(1, stop)
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        for number in range(6):
            source.run(f"UPDATE item SET price = {number}")
            source.read_log(one)
            source.check_lake()
            one.wait(0.1, stop)
    finally:
        stop.set()
        one.close()  # the other may wait for the slot
        thread.join()
    other.close()
    assert errors == []
    lines = [
        line
        for batch in lake_reader.batches(source.store)[1:]
        for line in lake_reader.lines(source.store, batch, "item")
    ]
    assert len(lines) == 18


def test_scratch_without_space_publishes_nothing(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = log_source.begin_item()
    source.run("UPDATE item SET price = 1")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(failpoint.actions, "ingest.before-file", once(fail))
    with pytest.raises(LakeError, match="free disk space"):
        source.read_log()
    assert len(source.lines_in_log()) == 3
    source.check_lake()


# The slot


def test_a_lost_slot_gives_a_gap_and_a_scan(cluster: ClusterFactory, tmp_path: Path) -> None:
    small = {"max_slot_wal_keep_size": "32MB", "min_wal_size": "32MB", "max_wal_size": "48MB"}
    server = cluster(standby_of=None, **{**LOG_SETTINGS, **small})
    with open_log_source(server, "totesys", tmp_path) as source:
        source.begin_item()
        source.reader.close()
        source.run("UPDATE item SET price = 1 WHERE id = 1")
        source.run("CREATE TABLE filler (v text)")
        deadline = time.monotonic() + WAIT_SECONDS
        while source.ask("SELECT wal_status <> 'lost' FROM pg_replication_slots"):
            assert time.monotonic() < deadline
            source.run("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            source.administer("CHECKPOINT")
        batch = source.read_batch()
        assert batch.log is not None
        assert "invalidated" in (batch.log.gap or "")
        source.check_lake()
        source.run("UPDATE item SET price = 2 WHERE id = 1")
        assert len(source.lines_in_log()) == 1
        assert getattr(lake_reader.batches(source.store)[-1].log, "gap", "") is None


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        ("SELECT pg_drop_replication_slot(%s)", "does not exist"),
        ("SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())", "another program"),
    ],
)
def test_a_slot_that_was_dropped_or_advanced_gives_a_gap_and_a_scan(
    log_source: LogSource, change: str, gap: str
) -> None:
    source = log_source.begin_item()
    source.reader.close()
    source.wait_until_slot_is_free()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    source.ask(change, source.slot)
    batch = source.read_batch()
    assert batch.log is not None
    assert gap in (batch.log.gap or "")
    assert not entry(batch).of_log
    source.check_lake()
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    assert len(source.lines_in_log()) == 1


ALTERED_MEANWHILE = {
    "alter": "ALTER TABLE item ADD colour text DEFAULT 'blue'",
    "truncate": "TRUNCATE item; INSERT INTO item VALUES (7, 'seven', 7)",
    "rewrite": "ALTER TABLE item ALTER price TYPE text",
}


@pytest.mark.few(2)
@pytest.mark.parametrize("change", ALTERED_MEANWHILE)
def test_a_slot_that_is_made_while_a_table_is_altered_decodes_exactly(
    any_log_source: LogSource, change: str
) -> None:
    source = any_log_source
    source.run(
        "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);"
        "INSERT INTO item VALUES (1, 'one', 1); CREATE TABLE other (id int PRIMARY KEY)"
    )
    source.publish("item", "other")
    with source.open() as connection:
        connection.execute(ALTERED_MEANWHILE[change].encode())
        made: list[object] = []
        thread = threading.Thread(target=lambda: made.append(source.read_log()))
        thread.start()
        source.wait_for(
            "SELECT count(*) > 0 FROM pg_stat_activity"
            " WHERE query LIKE '%%pg_create_logical_replication_slot%%' AND state = 'active'"
            " AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'"
        )
        connection.execute("UPDATE item SET name = 'changed'; INSERT INTO other VALUES (1)")
    thread.join()
    assert made
    source.check_lake("item", "other")
    source.run("UPDATE item SET name = 'again'; INSERT INTO other VALUES (2)")
    batch = source.read_batch()
    assert entry(batch, "item").of_log
    source.check_lake("item", "other")


def test_tables_are_scanned_while_open_transactions_block_the_slot(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reader_module, "_CREATE_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(reader_module, "_PAUSE_AFTER_BLOCKED_SECONDS", 0.0)
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")
    source.publish("item")
    with source.open() as connection:
        connection.execute("SELECT pg_current_xact_id()")
        batch = source.read_batch()
        assert (batch.log, entry(batch).rows) == (None, 1)
        assert f"process {connection.info.backend_pid}" in caplog.text
        assert (
            source.ask(
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", source.slot
            )
            == 0
        )
        source.run("INSERT INTO item VALUES (2)")
        assert entry(source.read_batch()).rows == 2
    source.run("INSERT INTO item VALUES (3)")
    assert source.read_batch().log is not None
    source.run("INSERT INTO item VALUES (4)")
    assert len(source.lines_in_log()) == 1
    source.check_lake()


@pytest.mark.parametrize(
    "make",
    [
        "SELECT pg_create_physical_replication_slot(%s)",
        "SELECT pg_create_logical_replication_slot(%s, 'test_decoding')",
    ],
)
def test_the_slot_of_another_program_is_refused(any_log_source: LogSource, make: str) -> None:
    source = any_log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY)")
    source.publish("item")
    try:
        source.ask(make, source.slot)
    except psycopg.errors.UndefinedFile:
        pytest.skip("the server has no plug-in test_decoding")
    try:
        with pytest.raises(SourceError, match="another program uses it"):
            source.read_log()
        assert source.ask("SELECT true FROM pg_replication_slots WHERE slot_name = %s", source.slot)
    finally:
        source.ask("SELECT pg_drop_replication_slot(%s)", source.slot)


# Refusals


def test_a_role_without_replication_gets_one_clear_error(log_source: LogSource) -> None:
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY)")
    source.publish("item")
    source.administer("ALTER ROLE totes_ingest NOREPLICATION")
    try:
        with pytest.raises(SourceError, match=r"REPLICATION|permit the role to replicate"):
            source.read_log()
        source.administer("ALTER ROLE totes_ingest REPLICATION")
        source.read_batch()
        source.reader.close()
        source.administer("ALTER ROLE totes_ingest NOREPLICATION")
        source.run("INSERT INTO item VALUES (1)")
        with pytest.raises(SourceError, match=r"REPLICATION|permit the role to replicate"):
            source.read_log()
    finally:
        source.administer("ALTER ROLE totes_ingest REPLICATION")
    assert len(source.lines_in_log()) == 1


def test_a_server_without_a_limit_for_slots_is_refused(log_source: LogSource) -> None:
    source = log_source
    source.run("CREATE TABLE item (id int PRIMARY KEY)")
    source.publish("item")
    source.administer("ALTER SYSTEM SET max_slot_wal_keep_size = -1", "SELECT pg_reload_conf()")
    source.wait_for("SELECT current_setting('max_slot_wal_keep_size') = '-1'")
    try:
        with pytest.raises(SourceError, match="max_slot_wal_keep_size"):
            source.read_log()
    finally:
        source.administer("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


@pytest.mark.few(1)
def test_tables_are_scanned_while_there_is_no_publication(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    source.administer("DROP PUBLICATION totes")
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    assert not entry(source.read_batch()).of_log
    source.check_lake()
    source.publish("item")
    source.run("UPDATE item SET price = 2 WHERE id = 1")
    source.read_log()
    source.check_lake()


# The server


def test_a_server_stops_while_a_silent_stream_is_open(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    """Otherwise `pg_ctl stop` fails after 60 seconds, and the test with it."""
    server = cluster(standby_of=None, **LOG_SETTINGS)
    with open_log_source(server, "totesys", tmp_path) as source:
        source.begin_item()
        source.run("INSERT INTO item SELECT i FROM generate_series(10, 200000) i")
        assert source.reader._transactions is not None
        server.stop()
        assert not server.is_running
        server.start()
        try:
            source.read_batch()
        except SourceUnavailable:  # the stream has ended, unless it was silent for so long
            source.read_batch()
        source.check_lake()


def test_transaction_ids_across_the_wraparound(cluster: ClusterFactory, tmp_path: Path) -> None:
    server = cluster(standby_of=None, **LOG_SETTINGS, autovacuum="off")
    with open_log_source(server, "totesys", tmp_path) as source:
        advance_transaction_id(server, (1 << 32) - MARGIN)
        source.begin_item()
        xids = []
        with source.open() as late:
            late.execute("UPDATE item SET name = 'late' WHERE id = 3")
            for number in range(8):
                for _ in range(MARGIN // 4):
                    source.run("SELECT pg_current_xact_id()")
                source.run(f"UPDATE item SET price = {number} WHERE id = 1")
                xids += [int(line["_xid"]) for line in source.lines_in_log()]
            late.commit()
        [line] = source.lines_in_log()
        assert int(line["_xid"]) < 1 << 32
        assert xids[0] < 1 << 32 < xids[-1]
        assert xids == sorted(xids)
        source.check_lake()
        source.check_scan_finds_nothing()


def test_an_idle_database_in_a_busy_cluster_does_not_retain_the_log(
    log_source: LogSource, log_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_CONFIRM_BYTES", 1 << 20)
    source = log_source.begin_item()
    start = position(source)
    with psycopg.connect(log_server.dsn.reveal(), autocommit=True) as other:
        for _ in range(3):
            other.execute(
                "CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 9000)"
            )
            other.execute("DROP TABLE filler; CHECKPOINT")
            assert source.read_log().batch is None
    confirmed = source.ask(
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots"
        " WHERE slot_name = %s",
        source.slot,
    )
    assert confirmed > start + (4 << 20)
    source.new_reader()
    source.run("UPDATE item SET price = 1 WHERE id = 1")
    assert len(source.lines_in_log()) == 1


# Moments and large transactions


@pytest.mark.few(1)
def test_a_large_transaction_is_read_while_others_commit(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    with source.open() as large:
        large.execute("INSERT INTO item SELECT i, repeat('x', 9) FROM generate_series(10, 30000) i")
        source.run("UPDATE item SET price = 1 WHERE id = 1")
        assert len(source.lines_in_log()) == 1
        source.run("UPDATE item SET price = 2 WHERE id = 1")
        large.execute("DELETE FROM item WHERE id > 29000")
    source.run("UPDATE item SET price = 3 WHERE id = 1")
    lines = source.lines_in_log()
    assert len(lines) == 29991 + 1000 + 2
    assert [line["price"] for line in lines if line["id"] == 1] == ["2", "3"]
    source.check_lake()


def test_moments_increase_when_the_clock_goes_back_or_stands(
    log_source: LogSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = log_source.begin_item()
    real = pgoutput.read_begin
    for shift in (timedelta(), timedelta(hours=-1), timedelta(days=-400)):
        moment = datetime.now(UTC) + shift

        def read_begin(message: bytes, moment: datetime = moment) -> pgoutput.Begin:
            return pgoutput.Begin(real(message).xid, moment)

        monkeypatch.setattr(pgoutput, "read_begin", read_begin)
        before = lake_reader.batches(source.store)[-1].captured_at
        for number in range(3):
            source.run(f"UPDATE item SET price = {number} WHERE id = 1")
        moments = [datetime.fromisoformat(line["_at"]) for line in source.lines_in_log()]
        assert before < moments[0] < moments[1] < moments[2]
        assert lake_reader.batches(source.store)[-1].captured_at == moments[2]
