"""No schema change between catalogue query, lock, snapshot and scan goes unnoticed."""

import contextlib
import itertools
import threading

import lake_reader
import psycopg
import pytest
from psycopg import errors, sql
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource, once
from stage_fixtures import AtFailpoint

from totes.errors import SourceError, SourceUnavailable
from totes.source import session, snapshot
from totes.source.catalogue import read_catalogue

pytestmark = pytest.mark.few(4)

FAIL_POINTS = ("source.catalogue-read", "source.locked", "source.snapshot-taken", "ingest.captured")

CHANGES = {
    "rewrite": "ALTER TABLE item ALTER price TYPE numeric(20, 3)",
    "truncate and reload": f"TRUNCATE item; {INSERT_ITEMS.format(50)}",
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
    """Return the number of delete lines in the lake."""
    manifests = lake_reader.batches(scratch_source.store)
    return sum(
        file.deletes for batch in manifests for table in batch.tables for file in table.files
    )


@pytest.fixture(autouse=True)
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(session.SETTINGS, "lock_timeout", "50ms")


@pytest.mark.few(8)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fail_point", FAIL_POINTS)
def test_a_schema_change_at_any_point_is_captured_completely_or_in_the_next_batch(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint, fail_point: str, change: str
) -> None:
    scratch_source.run(
        f"{CREATE_ITEM}; {INSERT_ITEMS.format(50)}; CREATE TABLE other (LIKE item INCLUDING ALL);"
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
            scratch_source.owner.reveal(), options="-csearch_path=scratch"
        ) as application:
            application.autocommit = True
            application.execute("SET lock_timeout = '20ms'")
            try:
                application.execute(CHANGES[change].encode())
            except psycopg.errors.LockNotAvailable:
                blocked.append(change)

    blocked: list[str] = []
    at_failpoint(fail_point, once(act))
    message = "The next run captures it."
    try:
        scratch_source.capture()
    except SourceError as error:
        message = str(error)
    assert "next run" in message
    assert not blocked or fail_point != "source.catalogue-read"
    if blocked:
        assert scratch_source.lake_equals_source()
        scratch_source.run(CHANGES[change])
    scratch_source.capture()
    with scratch_source.open() as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'scratch'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
    for (table,) in tables:
        assert scratch_source.lake_equals_source(table)
    assert change in DELETING or not deletes(scratch_source), "a table was seen as empty"


def test_a_rewrite_never_shows_a_table_as_empty(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint
) -> None:
    """The lock blocks statements after which the older snapshot would see no rows."""
    scratch_source.add_items(50)
    for fail_point in FAIL_POINTS[1:]:
        done = threading.Event()

        def reload(done: threading.Event = done) -> None:
            scratch_source.run(f"TRUNCATE item; {INSERT_ITEMS.format(50)}")
            done.set()

        at_failpoint(fail_point, once(threading.Thread(target=reload).start))
        scratch_source.run("UPDATE item SET name = 'new' WHERE id = 1")
        scratch_source.capture()
        assert done.wait(10), "the application waits only until the end of the capture"
        scratch_source.capture()
        assert scratch_source.lake_equals_source()
    assert not deletes(scratch_source)


def test_a_table_that_stays_locked_is_one_error_message(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as application:
        application.execute("LOCK TABLE item")
        with pytest.raises(SourceError, match="stayed locked") as error:
            scratch_source.capture()
        assert "\n" not in str(error.value)
    assert scratch_source.capture() is None


def test_a_capture_never_causes_a_schema_change_to_be_cancelled(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application locks the second table, and then the first, which ingest has locked."""
    monkeypatch.undo()
    scratch_source.add_items().run("CREATE TABLE zone (id int PRIMARY KEY)")
    failures: list[Exception] = []
    with scratch_source.open() as application, scratch_source.open() as observer:
        application.execute("LOCK TABLE zone")

        def lock_first_table() -> None:
            try:
                application.execute("LOCK TABLE item")
            except psycopg.Error as error:
                failures.append(error)

        waiting = threading.Thread(target=lock_first_table)
        failing = threading.Thread(target=lambda: _expect_locked(scratch_source))
        failing.start()
        while not observer.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert failing.is_alive()
        waiting.start()
        failing.join()
        waiting.join()
    assert failures == []


def _expect_locked(scratch_source: ScratchSource) -> None:
    with pytest.raises(SourceError, match="stayed locked"):
        scratch_source.capture()


def test_a_table_that_changes_at_every_attempt_ends_the_capture(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint
) -> None:
    scratch_source.add_items()
    names = iter(range(100))
    at_failpoint(
        "source.catalogue-read",
        lambda: scratch_source.run(f"ALTER TABLE item ADD c_{next(names)} int"),
    )
    with pytest.raises(
        SourceUnavailable, match=rf"changed {snapshot.MAX_ATTEMPTS} times .*\(item\)"
    ):
        scratch_source.capture()


def change_other_tables(scratch_source: ScratchSource, number: int) -> None:
    """Create, fill, attach and drop tables, as applications and reports do."""
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


def test_creating_and_dropping_other_tables_does_not_end_a_capture(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint
) -> None:
    scratch_source.add_items().run(
        "CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.parted (LIKE item) PARTITION BY RANGE (id)"
    )
    numbers = itertools.count()
    for fail_point in FAIL_POINTS:
        at_failpoint(fail_point, lambda: change_other_tables(scratch_source, next(numbers)))
    for key in (11, 12, 13):
        scratch_source.run(f"INSERT INTO item VALUES ({key})")
        assert ("upsert", key) in scratch_source.changes()
    for fail_point in FAIL_POINTS:
        at_failpoint(fail_point, lambda: None)
    scratch_source.capture()
    with scratch_source.open() as connection:
        kept = connection.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'scratch%'"
        ).fetchall()
    assert len(kept) > 10
    for (name,) in kept:
        assert scratch_source.lake_equals_source(name)


def test_a_table_that_is_dropped_while_the_catalogue_is_read_is_ignored(
    scratch_source: ScratchSource,
) -> None:
    """It is visible in the statement's snapshot, and dropped before its privileges are checked."""
    scratch_source.add_items()
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


def test_a_capture_does_not_wait_for_locks_on_excluded_tables(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run(
        "CREATE TABLE _prisma_migrations (id int DEFAULT 1 + 1) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF _prisma_migrations DEFAULT"
    )
    with scratch_source.open() as application:
        application.execute("LOCK TABLE _prisma_migrations")
        assert scratch_source.capture() is None


@pytest.mark.parametrize("change", ["DROP TABLE other", "ALTER TABLE other RENAME TO another"])
def test_a_table_that_is_dropped_before_it_is_locked_is_not_captured(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint, change: str
) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)")
    scratch_source.add_items().run("INSERT INTO item VALUES (9)")
    at_failpoint("source.catalogue-read", once(lambda: scratch_source.run(change)))
    assert scratch_source.changes() == {("upsert", 9)}
    assert [former.reason for former in lake_reader.batches(scratch_source.store)[-1].former] == [
        "absent"
    ]


def test_a_change_during_the_scan_publishes_nothing(
    scratch_source: ScratchSource, at_failpoint: AtFailpoint
) -> None:
    scratch_source.run(
        "CREATE TYPE size AS ENUM ('small'); CREATE TABLE item (id int PRIMARY KEY, s size)"
    )
    scratch_source.run("INSERT INTO item VALUES (1, 'small')")
    scratch_source.capture()
    scratch_source.run("INSERT INTO item VALUES (2, 'small')")
    at_failpoint(
        "ingest.captured",
        once(lambda: scratch_source.run("ALTER TYPE size RENAME VALUE 'small' TO 'tiny'")),
    )
    with pytest.raises(SourceUnavailable, match=r"schema of item changed .* nothing was published"):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
