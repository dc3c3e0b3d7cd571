"""Replication slots: their state, what keeps one from being made, and their removal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from database import execute
from psycopg import pq
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from conftest import ClusterFactory
from totes.embedded.servers import EmbeddedServer, prepare_source
from totes.errors import SourceError
from totes.lake.lsn import format_lsn, parse_lsn
from totes.source import session
from totes.source.log.slot import (
    SlotState,
    drop_slot,
    find_blockers,
    read_slot,
    retention_problem,
)

MAKE = "SELECT pg_create_logical_replication_slot('totes', 'pgoutput')"


def make(source: ScratchSource, statement: str = MAKE) -> None:
    with session.connect(source.dsn) as connection:
        connection.execute(statement.encode())


def state(source: ScratchSource, name: str = "totes") -> SlotState | None:
    with session.connect(source.dsn) as connection:
        return read_slot(connection, name)


def drop(source: ScratchSource, name: str = "totes") -> None:
    with session.connect(source.dsn) as connection:
        drop_slot(connection, name)


@contextmanager
def reader(source: ScratchSource) -> Iterator[int]:
    """Read the slot `totes` in the block; yields the server's process."""
    stream = pq.PGconn.connect(source.dsn.replace(replication="database").reveal().encode())
    source.run("CREATE PUBLICATION totes FOR TABLE item")
    result = stream.exec_(
        b"START_REPLICATION SLOT totes LOGICAL 0/0 (proto_version '1', publication_names 'totes')"
    )
    assert result.status == pq.ExecStatus.COPY_BOTH, stream.get_error_message()
    yield stream.backend_pid
    stream.finish()


@pytest.mark.few(1)
def test_a_position_is_read_and_printed_as_postgresql_prints_it(
    logged_source: ScratchSource,
) -> None:
    assert format_lsn(0x1F_0000_000A) == "1F/A"
    assert parse_lsn("1F/A") == 0x1F_0000_000A
    with logged_source.open() as connection:
        [(text, number)] = connection.execute(
            "SELECT lsn::text, (lsn - '0/0')::bigint"
            " FROM (SELECT pg_current_wal_insert_lsn() + 123456789012) AS w (lsn)"
        ).fetchall()
    assert parse_lsn(text) == number
    assert format_lsn(number) == text


@pytest.mark.few(1)
def test_there_is_no_slot_before_one_is_made(logged_source: ScratchSource) -> None:
    assert state(logged_source) is None


@pytest.mark.few(1)
def test_the_state_of_a_slot(logged_source: ScratchSource) -> None:
    make(logged_source)
    before = state(logged_source)
    assert before is not None
    assert (before.name, before.plugin) == ("totes", "pgoutput")
    assert before.database == logged_source.dsn.parts["dbname"]
    assert (before.active, before.active_pid, before.is_lost) == (False, None, False)
    assert before.wal_status == "reserved"
    assert before.misuse == ""
    with logged_source.open() as connection:
        [positions] = connection.execute(
            "SELECT confirmed_flush_lsn::text, restart_lsn::text FROM pg_replication_slots"
            " WHERE slot_name = 'totes'"
        ).fetchall()
    assert before.confirmed is not None
    assert before.restart is not None
    assert (format_lsn(before.confirmed), format_lsn(before.restart)) == positions


@pytest.mark.few(1)
def test_a_slot_retains_what_is_written_after_it(logged_source: ScratchSource) -> None:
    logged_source.run(CREATE_ITEM)
    make(logged_source)
    before = state(logged_source)
    logged_source.run(INSERT_ITEMS.format(2000))
    after = state(logged_source)
    assert before is not None
    assert after is not None
    assert before.retained_bytes is not None
    assert after.retained_bytes is not None
    assert after.retained_bytes - before.retained_bytes > 2000 * 50
    assert after.restart == before.restart


@pytest.mark.few(1)
def test_a_slot_that_is_read_is_active_and_is_not_removed(logged_source: ScratchSource) -> None:
    logged_source.run(CREATE_ITEM)
    make(logged_source)
    with reader(logged_source) as process:
        found = state(logged_source)
        assert found is not None
        assert (found.active, found.active_pid) == (True, process)
        with pytest.raises(SourceError, match=f"is in use by process {process}: stop `totes run`"):
            drop(logged_source)
    assert state(logged_source) is not None


@pytest.mark.few(1)
def test_a_slot_is_removed_once(logged_source: ScratchSource) -> None:
    make(logged_source)
    drop(logged_source)
    assert state(logged_source) is None
    with pytest.raises(SourceError, match="There is no replication slot totes"):
        drop(logged_source)


@pytest.mark.few(1)
def test_two_removals_at_once_are_one_and_an_error(logged_source: ScratchSource) -> None:
    make(logged_source)
    start = threading.Barrier(2)
    outcomes = []

    def remove() -> None:
        with session.connect(logged_source.dsn) as connection:
            start.wait()
            try:
                drop_slot(connection, "totes")
                outcomes.append("removed")
            except SourceError as error:
                outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=remove) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["SourceError", "removed"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "SELECT pg_create_physical_replication_slot('totes')",
            "replication slot totes is physical: another program uses it",
        ),
        (
            "SELECT pg_create_logical_replication_slot('totes', 'test_decoding')",
            "replication slot totes has output plug-in test_decoding, not pgoutput",
        ),
    ],
)
def test_another_programs_slot_is_kept(
    logged_source: ScratchSource, statement: str, expected: str
) -> None:
    try:
        make(logged_source, statement)
    except psycopg.errors.UndefinedFile:
        pytest.skip("the server has no plug-in test_decoding")
    except SourceError as error:
        if "test_decoding" not in str(error):
            raise
        pytest.skip("the server has no plug-in test_decoding")
    with pytest.raises(SourceError, match=expected):
        drop(logged_source)
    make(logged_source, "SELECT pg_drop_replication_slot('totes')")


@pytest.mark.few(1)
def test_another_databases_slot_is_kept(logged_source: ScratchSource) -> None:
    make(logged_source)
    postgres = logged_source.owner.replace(user="postgres", dbname="postgres")
    with session.connect(postgres) as connection:
        name = logged_source.dsn.parts["dbname"]
        with pytest.raises(SourceError, match=f"slot totes belongs to database {name}"):
            drop_slot(connection, "totes")
    assert state(logged_source) is not None


def test_a_slot_whose_log_was_removed_is_lost(cluster: ClusterFactory) -> None:
    server = cluster(
        wal_level="logical",
        max_slot_wal_keep_size="1MB",
        min_wal_size="32MB",
        max_wal_size="32MB",
    )
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        connection.execute(MAKE)
        for _ in range(3):
            connection.execute("SELECT pg_logical_emit_message(false, '', repeat('x', 1000000))")
            connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
        found = read_slot(connection, "totes")
        assert found is not None
        assert found.is_lost
        assert found.invalidation_reason == "wal_removed"
        drop_slot(connection, "totes")


@pytest.mark.few(1)
def test_transactions_that_a_new_slot_would_wait_for_are_named(
    logged_source: ScratchSource,
) -> None:
    logged_source.run(CREATE_ITEM)
    database = logged_source.dsn.parts["dbname"]
    with session.connect(logged_source.dsn) as connection, logged_source.open() as other:
        other.execute("TABLE item")
        assert find_blockers(connection) == [], "a transaction that only reads"
        other.execute("INSERT INTO item VALUES (1)")
        process = other.info.backend_pid
        assert find_blockers(connection) == [
            f"transaction of process {process}, user totesys_app, database {database}"
        ]
        with session.connect(logged_source.owner.replace(user="postgres")) as superuser:
            [clause] = find_blockers(superuser)
            assert ", open since 2" in clause
        other.execute("PREPARE TRANSACTION 'sale''s'")
        try:
            [clause] = find_blockers(connection)
        finally:
            logged_source.run("ROLLBACK PREPARED 'sale''s'")
        assert clause.startswith(
            f"prepared transaction 'sale''s', user totesys_app, database {database}, prepared at 2"
        )
        assert find_blockers(connection) == []


def test_a_server_that_would_keep_log_without_limit_is_a_problem(
    server: EmbeddedServer, log_server: EmbeddedServer
) -> None:
    with session.connect(prepare_source(server.dsn).reader) as connection:
        assert "max_slot_wal_keep_size of the source is -1" in retention_problem(connection)
    with session.connect(prepare_source(log_server.dsn).reader) as connection:
        assert retention_problem(connection) == ""


@pytest.mark.few(1)
def test_replication_allows_more_than_select(logged_source: ScratchSource) -> None:
    """What docs/log-capture.md warns of."""
    superuser = logged_source.owner.replace(user="postgres")
    execute(
        superuser,
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.one (id int PRIMARY KEY, secret text)",
        "CREATE PUBLICATION totes FOR TABLE hidden.one",
        "SELECT pg_create_physical_replication_slot('others')",
    )
    with psycopg.connect(logged_source.dsn.reveal(), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("TABLE hidden.one")
        connection.execute(MAKE)
        insert = "INSERT INTO hidden.one VALUES (1, 'sesame')"
        execute(superuser, f"SET synchronous_commit = on; {insert}")
        changes = connection.execute(
            "SELECT data FROM pg_logical_slot_get_binary_changes("
            "'totes', NULL, NULL, 'proto_version', '1', 'publication_names', 'totes')"
        ).fetchall()
        assert any(b"sesame" in data for (data,) in changes)
        connection.execute("SELECT pg_drop_replication_slot('others')")
    stream = pq.PGconn.connect(logged_source.dsn.replace(replication="database").reveal().encode())
    assert stream.exec_(b"BASE_BACKUP (TARGET 'client')").status == pq.ExecStatus.COPY_OUT
    stream.finish()
