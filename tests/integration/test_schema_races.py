"""No change of the schema slips between catalogue, lock, snapshot and scan."""

import contextlib
import itertools
import threading
from collections.abc import Callable

import lake_reader
import psycopg
import pytest
from psycopg import errors, sql
from scratch_source import ITEM, STOCK, ScratchSource, once

from totes import failpoint
from totes.errors import SourceAway, SourceError
from totes.source import session, snapshot
from totes.source.catalogue import read_catalogue

PLACES = ("source.catalogue-read", "source.locked", "source.snapshot-taken", "ingest.captured")

CHANGES = {
    "rewrite": "ALTER TABLE item ALTER price TYPE numeric(20, 3)",
    "truncate and reload": f"TRUNCATE item; {STOCK.format(50)}",
    "truncate": "TRUNCATE item",
    "drop": "DROP TABLE item",
    "swap": "ALTER TABLE item RENAME TO was; ALTER TABLE other RENAME TO item",
    "add column": "ALTER TABLE item ADD COLUMN colour text DEFAULT 'blue'",
    "rename label": "ALTER TYPE size RENAME VALUE 'small' TO 'tiny'",
    "attach": "ALTER TABLE parted ATTACH PARTITION part FOR VALUES FROM (0) TO (10)",
    "new table": "CREATE TABLE newer (id int PRIMARY KEY); INSERT INTO newer VALUES (1)",
    "vacuum full": "VACUUM FULL item",
}


DELETING = {"truncate", "swap", "drop"}


def deletes(scratch_source: ScratchSource) -> int:
    """How many deletions the lake tells of."""
    found = lake_reader.batches(scratch_source.store)
    return sum(file.deletes for batch in found for table in batch.tables for file in table.files)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    def act(place: str, action: Callable[[], None]) -> None:
        monkeypatch.setitem(failpoint.actions, place, action)

    return act


At = Callable[[str, Callable[[], None]], None]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session.SETTINGS, "lock_timeout", "50ms")


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", PLACES)
def test_a_change_of_the_schema_at_any_point_is_captured_whole_or_not_yet(
    scratch_source: ScratchSource, at: At, place: str, change: str
) -> None:
    scratch_source.run(
        f"{ITEM}; {STOCK.format(50)}; CREATE TABLE other (LIKE item INCLUDING ALL);"
        "INSERT INTO other VALUES (7);"
        "CREATE TYPE size AS ENUM ('small', 'large'); ALTER TABLE item ADD size size;"
        "UPDATE item SET size = 'small'; ALTER TABLE other ADD size size;"
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part (id int PRIMARY KEY); INSERT INTO part VALUES (1)"
    )
    scratch_source.capture()
    scratch_source.run("UPDATE item SET name = 'new' WHERE id = 1")

    def act() -> None:
        with psycopg.connect(
            scratch_source.owner.reveal(), options="-csearch_path=shop"
        ) as application:
            application.autocommit = True
            application.execute("SET lock_timeout = '20ms'")
            try:
                application.execute(CHANGES[change].encode())
            except psycopg.errors.LockNotAvailable:
                waiting.append(change)

    waiting: list[str] = []
    at(place, once(act))
    refused = "nothing; the next run goes on"
    try:
        scratch_source.capture()
    except SourceError as error:
        refused = str(error)
    assert "next run" in refused
    assert not waiting or place != "source.catalogue-read"
    if waiting:
        assert scratch_source.is_carried_whole()
        scratch_source.run(CHANGES[change])
    scratch_source.capture()
    with scratch_source.open() as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
    for (table,) in tables:
        assert scratch_source.is_carried_whole(table)
    assert change in DELETING or not deletes(scratch_source), "a table was seen as empty"


def test_a_rewrite_never_shows_a_table_as_empty(scratch_source: ScratchSource, at: At) -> None:
    """The lock holds back what would make the older snapshot see no rows."""
    scratch_source.stocked(50)
    for place in PLACES[1:]:
        done = threading.Event()

        def reload(done: threading.Event = done) -> None:
            scratch_source.run(f"TRUNCATE item; {STOCK.format(50)}")
            done.set()

        at(place, once(threading.Thread(target=reload).start))
        scratch_source.run("UPDATE item SET name = 'new' WHERE id = 1")
        scratch_source.capture()
        assert done.wait(10), "the application waits no longer than the capture lasts"
        scratch_source.capture()
        assert scratch_source.is_carried_whole()
    assert not deletes(scratch_source)


def test_a_table_that_stays_locked_is_one_clear_error(scratch_source: ScratchSource) -> None:
    with scratch_source.stocked().open() as application:
        application.execute("LOCK TABLE item")
        with pytest.raises(SourceError, match="stayed locked") as refused:
            scratch_source.capture()
        assert "\n" not in str(refused.value)
    assert scratch_source.capture() is None


def test_a_change_of_the_schema_is_never_the_victim_of_a_deadlock(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application locks the later table and then wants the one that ingest has."""
    monkeypatch.undo()
    scratch_source.stocked().run("CREATE TABLE zone (id int PRIMARY KEY)")
    failures: list[Exception] = []
    with scratch_source.open() as application, scratch_source.open() as observer:
        application.execute("LOCK TABLE zone")

        def want_the_first() -> None:
            try:
                application.execute("LOCK TABLE item")
            except psycopg.Error as error:
                failures.append(error)

        waiting = threading.Thread(target=want_the_first)
        failing = threading.Thread(target=lambda: _refused(scratch_source))
        failing.start()
        while not observer.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert failing.is_alive()
        waiting.start()
        failing.join()
        waiting.join()
    assert failures == []


def _refused(scratch_source: ScratchSource) -> None:
    with pytest.raises(SourceError, match="stayed locked"):
        scratch_source.capture()


def test_a_table_that_changes_at_every_attempt_ends_the_capture(
    scratch_source: ScratchSource, at: At
) -> None:
    scratch_source.stocked()
    names = iter(range(100))
    at(
        "source.catalogue-read",
        lambda: scratch_source.run(f"ALTER TABLE item ADD c_{next(names)} int"),
    )
    with pytest.raises(SourceAway, match=rf"changed {snapshot.ATTEMPTS} times .*\(item\)"):
        scratch_source.capture()


def scratch(scratch_source: ScratchSource, number: int) -> None:
    """What applications and their reports do all day: tables that come, change and go."""
    with scratch_source.open() as application:
        application.autocommit = True
        application.execute("SET lock_timeout = '20ms'")
        for name in ("a", "b", "kept"):
            old = sql.Identifier(f"scratch_{name}_{number - 1}")
            new = sql.Identifier(f"scratch_{name}_{number}")
            application.execute(sql.SQL("CREATE TABLE {} AS TABLE item").format(new))
            with contextlib.suppress(errors.LockNotAvailable):
                drop = "SELECT 1" if name == "kept" else "DROP TABLE IF EXISTS {}"
                application.execute(sql.SQL(drop).format(old))
        application.execute(
            sql.SQL(
                "CREATE TEMP TABLE mine AS TABLE item; CREATE TABLE {0} (LIKE item);"
                "ALTER TABLE elsewhere.parted ATTACH PARTITION {0} FOR VALUES FROM ({1}) TO ({2})"
            ).format(sql.Identifier("elsewhere", f"part_{number}"), number, number + 1)
        )


def test_creating_and_dropping_other_tables_neither_stops_nor_discards_a_capture(
    scratch_source: ScratchSource, at: At
) -> None:
    scratch_source.stocked().run(
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.parted (LIKE item) PARTITION BY RANGE (id)"
    )
    numbers = itertools.count()
    for place in PLACES:
        at(place, lambda: scratch(scratch_source, next(numbers)))
    for key in (11, 12, 13):
        scratch_source.run(f"INSERT INTO item VALUES ({key})")
        assert ("upsert", key) in scratch_source.changes()
    for place in PLACES:
        at(place, lambda: None)
    scratch_source.capture()
    with scratch_source.open() as connection:
        kept = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'scratch%'"
        ).fetchall()
    assert len(kept) > 10
    for (name,) in kept:
        assert scratch_source.is_carried_whole(name)


def test_a_table_that_is_dropped_while_the_catalogue_is_read_is_ignored(
    scratch_source: ScratchSource,
) -> None:
    """Seen by the statement's snapshot, and dropped before its privileges are asked."""
    scratch_source.stocked()
    with (
        scratch_source.open() as application,
        scratch_source.open() as other,
        session.connect(scratch_source.dsn) as reader,
    ):
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        application.execute("CREATE TABLE scratch (id int PRIMARY KEY, at int DEFAULT 1 + 1)")
        application.commit()
        assert [t.name for t in read_catalogue(reader, scratch_source.scope).tables] == [
            "item",
            "scratch",
        ]
        other.execute("DROP TABLE scratch")
        other.commit()
        assert [t.name for t in read_catalogue(reader, scratch_source.scope).tables] == ["item"]


def test_a_capture_does_not_wait_for_locked_tables_that_are_left_out(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.stocked().run(
        "CREATE TABLE _prisma_migrations (id int DEFAULT 1 + 1) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF _prisma_migrations DEFAULT"
    )
    with scratch_source.open() as application:
        application.execute("LOCK TABLE _prisma_migrations")
        assert scratch_source.capture() is None


@pytest.mark.parametrize("change", ["DROP TABLE other", "ALTER TABLE other RENAME TO another"])
def test_a_table_that_is_dropped_before_it_is_locked_is_left_out(
    scratch_source: ScratchSource, at: At, change: str
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)")
    scratch_source.stocked().run("INSERT INTO item VALUES (9)")
    at("source.catalogue-read", once(lambda: scratch_source.run(change)))
    assert scratch_source.changes() == {("upsert", 9)}
    assert [former.reason for former in lake_reader.batches(scratch_source.store)[-1].former] == [
        "absent"
    ]


def test_a_change_during_the_scan_publishes_nothing(scratch_source: ScratchSource, at: At) -> None:
    scratch_source.run(
        "CREATE TYPE size AS ENUM ('small'); CREATE TABLE item (id int PRIMARY KEY, s size)"
    )
    scratch_source.run("INSERT INTO item VALUES (1, 'small')")
    scratch_source.capture()
    scratch_source.run("INSERT INTO item VALUES (2, 'small')")
    at(
        "ingest.captured",
        once(lambda: scratch_source.run("ALTER TYPE size RENAME VALUE 'small' TO 'tiny'")),
    )
    with pytest.raises(SourceAway, match=r"schema of item changed .* nothing was published"):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1
    scratch_source.capture()
    assert scratch_source.is_carried_whole()
