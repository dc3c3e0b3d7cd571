"""A batch is published completely, once, in order; heartbeats record checks without changes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import lake_reader
import psycopg
import pytest
from scratch_source import ScratchSource, once

from totes import failpoint
from totes.errors import LakeError, SourceError
from totes.lake.manifest import Heartbeat, Manifest, manifest_path, sha256_hex
from totes.lake.manifests import find_last_heartbeat
from totes.source import changes, pieces, reading, session, splitting
from totes.source.catalogue import SourceTable
from totes.source.changes import Chunk, Horizon
from totes.source.ranges import RowRange, range_condition, split_blocks
from totes.stages.ingest import HEARTBEAT_INTERVAL, AcceptOptions, ingest


def restamp(scratch_source: ScratchSource, captured_at: datetime) -> Manifest:
    """Change the capture time of the newest batch."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    restamped = newest.model_copy(update={"captured_at": captured_at})
    path = scratch_source.lake / manifest_path(newest.batch)
    path.unlink()
    path.write_bytes(restamped.to_json())
    return restamped


def test_manifests_are_a_chain_without_gaps(scratch_source: ScratchSource) -> None:
    scratch_source.add_items()
    for number in range(3):
        scratch_source.run(f"INSERT INTO item VALUES ({10 + number})")
        scratch_source.capture()
    batches = lake_reader.batches(scratch_source.store)
    assert [batch.batch for batch in batches] == [1, 2, 3, 4]
    assert batches[0].previous is None
    for before, after in pairwise(batches):
        assert after.previous == sha256_hex(scratch_source.store.get(manifest_path(before.batch)))
        assert after.captured_at > before.captured_at


def test_files_match_their_manifest(scratch_source: ScratchSource) -> None:
    scratch_source.add_items(1000).run(
        "DELETE FROM item WHERE id = 5; UPDATE item SET name = 'b' WHERE id = 6"
    )
    scratch_source.capture()
    for batch in lake_reader.batches(scratch_source.store):
        for table in batch.tables:
            for file in (*table.files, *table.keys):
                content = scratch_source.store.get(file.path)
                assert (len(content), sha256_hex(content)) == (file.bytes, file.sha256)


def test_capture_times_increase_if_the_clock_of_the_source_is_set_back(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items()
    future = datetime.now(UTC) + timedelta(days=400)
    restamp(scratch_source, future)
    scratch_source.run("INSERT INTO item VALUES (4)")
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.captured_at == future + timedelta(microseconds=1)


def test_an_unchanged_source_is_not_scanned(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items()
    reached: list[str] = []
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: reached.append("scan"))
    while True:  # until autovacuum runs no transaction between two captures
        scratch_source.run("INSERT INTO item SELECT max(id) + 1 FROM item")
        batch = scratch_source.capture()
        assert batch is not None
        assert reached.pop() == "scan"
        assert scratch_source.capture() is None
        if current_snapshot(scratch_source) == batch.snapshot:
            break
        reached.clear()
    assert reached == []


def test_transactions_without_changes_create_no_batch(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("CREATE TEMP TABLE t AS SELECT 1; SELECT pg_current_xact_id()")
    assert scratch_source.capture() is None
    assert len(lake_reader.batches(scratch_source.store)) == 1


# Heartbeats


def current_snapshot(scratch_source: ScratchSource) -> str:
    with scratch_source.open() as connection:
        [(snapshot,)] = connection.execute("SELECT pg_current_snapshot()::text").fetchall()
    return str(snapshot)


def test_a_snapshot_without_changes_is_scanned_once(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items()
    reached: list[str] = []
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: reached.append("scan"))
    before, now = "", "other"
    while before != now:  # until autovacuum runs no transaction between the captures
        reached.clear()
        scratch_source.run("SELECT pg_current_xact_id()")
        before = current_snapshot(scratch_source)
        assert [scratch_source.capture() for _ in range(3)] == [None] * 3
        now = current_snapshot(scratch_source)
    assert reached == ["scan"]
    scratch_source.run("UPDATE item SET name = 'b' WHERE id = 1")
    assert scratch_source.capture() is not None


def test_a_source_without_changes_gets_a_heartbeat_at_intervals(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items()
    now = datetime.now(UTC)
    assert scratch_source.capture() is None
    assert find_last_heartbeat(scratch_source.store, now) is None, "the batch is recent"
    restamp(scratch_source, now - HEARTBEAT_INTERVAL)
    checked = ingest(scratch_source.dsn, scratch_source.store, scratch_source.scope).checked_at
    assert find_last_heartbeat(scratch_source.store, now) == Heartbeat(batch=1, checked_at=checked)
    assert scratch_source.capture() is None
    assert len(list(scratch_source.store.list("heartbeats"))) == 1, "one in ten minutes"


def test_a_heartbeat_of_the_day_before_is_found(scratch_source: ScratchSource) -> None:
    now = datetime.now(UTC)
    scratch_source.add_items()
    restamp(scratch_source, now - timedelta(hours=25))
    scratch_source.capture()
    assert find_last_heartbeat(scratch_source.store, now + timedelta(days=1)) is not None
    assert find_last_heartbeat(scratch_source.store, now + timedelta(days=2)) is None


def test_a_source_with_unrelated_transactions_gets_a_heartbeat(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items()
    restamp(scratch_source, datetime.now(UTC) - HEARTBEAT_INTERVAL)
    scratch_source.run("SELECT pg_current_xact_id()")
    assert scratch_source.capture() is None
    assert len(list(scratch_source.store.list("heartbeats"))) == 1


# Concurrent ingests


def test_of_two_concurrent_ingests_one_publishes_the_batch(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items().run("INSERT INTO item VALUES (4)")
    both = threading.Barrier(2)
    turns = [both.wait, both.wait]
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: turns and turns.pop()())
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: scratch_source.capture(), range(2)))
    assert sorted(result is None for result in results) == [False, True]
    assert [batch.batch for batch in lake_reader.batches(scratch_source.store)] == [1, 2]
    assert scratch_source.lake_equals_source()


def test_an_ingest_continues_after_a_concurrent_batch(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items().run("INSERT INTO item VALUES (4)")

    def other_ingest() -> None:
        assert scratch_source.capture() is not None
        scratch_source.run("INSERT INTO item VALUES (5); DELETE FROM item WHERE id = 4")

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(other_ingest))
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.batch == 3
    assert scratch_source.lake_equals_source()


def test_concurrent_first_captures_publish_one_batch(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.run("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")

    def other_ingest() -> None:
        assert scratch_source.capture() is not None

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(other_ingest))
    assert scratch_source.capture() is None
    assert [batch.batch for batch in lake_reader.batches(scratch_source.store)] == [1]


# Errors


@pytest.mark.few(1)
@pytest.mark.parametrize("lost", [{2}, {2, 3, 4, 5}, {1}])
def test_the_number_of_a_lost_manifest_is_not_reused(
    scratch_source: ScratchSource, lost: set[int]
) -> None:
    scratch_source.add_items()
    for number in range(10, 18):
        scratch_source.run(f"INSERT INTO item VALUES ({number})")
        scratch_source.capture()
    for batch in lost:
        (scratch_source.lake / manifest_path(batch)).unlink()
    scratch_source.run("INSERT INTO item VALUES (99)")
    with pytest.raises(LakeError, match=rf"{min(lost):012d}.json is missing .* backup"):
        scratch_source.capture()
    assert not any((scratch_source.lake / manifest_path(batch)).exists() for batch in lost)


def test_a_killed_ingest_publishes_nothing_and_the_next_one_is_complete(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items().run("INSERT INTO item VALUES (4)")

    def kill() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(kill))
    with pytest.raises(KeyboardInterrupt):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1
    assert scratch_source.changes() == {("upsert", 4)}


def test_a_damaged_key_file_is_rejected_and_named(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run("INSERT INTO item VALUES (4)")
    (key_file,) = lake_reader.batches(scratch_source.store)[0].tables[0].keys
    path = scratch_source.lake / key_file.path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(LakeError, match=key_file.path):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1


def test_a_lost_connection_is_one_error(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On any of the connections."""
    scratch_source.add_items(1000)
    monkeypatch.setattr(splitting, "_RANGE_BYTES", 8192)
    monkeypatch.setattr(splitting, "_RANGES_PER_PIECE", 1)
    scratch_source.run(
        "UPDATE item SET name = 'new'; ALTER TABLE item ADD COLUMN extra int DEFAULT 1"
    )
    read = changes._fetch_bytes
    remaining_reads = iter(range(5))

    def close_connection(cursor: psycopg.Cursor) -> list[bytes]:
        if next(remaining_reads, None) is None:
            cursor.connection.close()
        return read(cursor)

    monkeypatch.setattr(changes, "_fetch_bytes", close_connection)
    with pytest.raises(SourceError, match="check that the server runs") as error:
        scratch_source.capture()
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    scratch_source.capture()
    assert scratch_source.lake_equals_source()


def test_after_an_error_no_further_range_is_read(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "_RANGE_BYTES", 8192)
    monkeypatch.setattr(splitting, "_RANGES_PER_PIECE", 1)
    scratch_source.add_items(20_000).run("ALTER TABLE item ADD COLUMN v int")
    row_ranges: list[RowRange] = []
    read = reading.read_changes

    def fail(
        connection: psycopg.Connection,
        table: SourceTable,
        xmax: int,
        horizon: Horizon | None,
        row_range: RowRange,
    ) -> Iterator[Chunk]:
        row_ranges.append(row_range)
        connection.close()
        return read(connection, table, xmax, horizon, row_range)

    monkeypatch.setattr(pieces, "read_changes", fail)
    with pytest.raises(SourceError, match="closed"):
        scratch_source.capture()
    assert len(row_ranges) <= scratch_source.scope.connections, "of about 125"


def test_the_last_range_of_a_table_has_no_end(scratch_source: ScratchSource) -> None:
    with scratch_source.open() as connection:
        conditions = [
            range_condition(row_range).as_string(connection)
            for row_range in split_blocks(range(0, 5, 2), last=True)
        ]
    assert [text.count("<") for text in conditions] == [1, 1, 0]
    assert "(4,0)" in conditions[1]
    assert "(4,0)" in conditions[2]


def test_the_scratch_folder_can_have_special_characters(
    scratch_source: ScratchSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'it\'s 100% "mine" [x] *'
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with scratch_source.add_items().open() as connection:
        connection.execute("SELECT pg_current_xact_id()")
        for number in range(4, 7):
            scratch_source.run(
                f"INSERT INTO item VALUES ({number}); DELETE FROM item WHERE id = {number - 3}"
            )
            assert len(scratch_source.changes()) == 2
    assert list(folder.iterdir()) == [], "it is empty afterwards"


def test_a_too_long_aggregate_is_read_in_halves(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.add_items(100)
    read, rejected = changes._fetch_bytes, []

    def at_most_sixteen(cursor: psycopg.Cursor) -> list[bytes]:
        values = read(cursor)
        if int(values[1]) > 16:
            rejected.append(values[1])
            raise psycopg.errors.ProgramLimitExceeded("string buffer exceeds maximum length")
        return values

    monkeypatch.setattr(changes, "_fetch_bytes", at_most_sixteen)
    scratch_source.run("UPDATE item SET price = 1; ALTER TABLE item ADD extra int DEFAULT 3")
    assert len(scratch_source.changes()) == 100
    assert rejected
    assert scratch_source.lake_equals_source()


def test_an_unsupported_server_version_is_rejected(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OLDEST_VERSION", 990000)
    with pytest.raises(SourceError, match="older than PostgreSQL 14"):
        scratch_source.add_items()


def test_a_row_that_is_too_long_for_postgresql_is_one_error(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(_: psycopg.Cursor) -> list[bytes]:
        raise psycopg.errors.ProgramLimitExceeded("string buffer exceeds maximum length")

    scratch_source.add_items().run("INSERT INTO item VALUES (4)")
    monkeypatch.setattr(changes, "_fetch_bytes", too_long)
    with pytest.raises(SourceError, match="exceeds maximum length"):
        scratch_source.capture(AcceptOptions())
