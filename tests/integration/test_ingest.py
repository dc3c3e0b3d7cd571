"""A batch is published whole, once, in order; a quiet source is told from a dead platform."""

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
from totes.lake.manifest import Heartbeat, Manifest, digest, manifest_path
from totes.source import changes, reading, scan, session
from totes.source.catalogue import SourceTable
from totes.source.changes import Chunk, Horizon, Span
from totes.stages.ingest import HEARTBEAT_EVERY, Accept, ingest, last_heartbeat


def restamp(scratch_source: ScratchSource, captured_at: datetime) -> Manifest:
    """Let the newest batch have another capture time, as if the clock had been another."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    restamped = newest.model_copy(update={"captured_at": captured_at})
    path = scratch_source.lake / manifest_path(newest.batch)
    path.unlink()
    path.write_bytes(restamped.to_json())
    return restamped


def test_manifests_are_a_chain_without_gaps(scratch_source: ScratchSource) -> None:
    scratch_source.stocked()
    for number in range(3):
        scratch_source.run(f"INSERT INTO item VALUES ({10 + number})")
        scratch_source.capture()
    found = lake_reader.batches(scratch_source.store)
    assert [batch.batch for batch in found] == [1, 2, 3, 4]
    assert found[0].previous is None
    for before, after in pairwise(found):
        assert after.previous == digest(scratch_source.store.get(manifest_path(before.batch)))
        assert after.captured_at > before.captured_at


def test_files_are_what_their_manifest_says(scratch_source: ScratchSource) -> None:
    scratch_source.stocked(1000).run(
        "DELETE FROM item WHERE id = 5; UPDATE item SET name = 'b' WHERE id = 6"
    )
    scratch_source.capture()
    for batch in lake_reader.batches(scratch_source.store):
        for table in batch.tables:
            for file in (*table.files, *table.keys):
                content = scratch_source.store.get(file.path)
                assert (len(content), digest(content)) == (file.bytes, file.sha256)


def test_capture_times_grow_even_when_the_sources_clock_jumps_back(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.stocked()
    future = datetime.now(UTC) + timedelta(days=400)
    restamp(scratch_source, future)
    scratch_source.run("INSERT INTO item VALUES (4)")
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.captured_at == future + timedelta(microseconds=1)


def test_a_source_that_stood_still_is_not_scanned(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.stocked()
    reached: list[str] = []
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: reached.append("scan"))
    while True:  # until autovacuum's own transactions leave the server alone between two captures
        scratch_source.run("INSERT INTO item SELECT max(id) + 1 FROM item")
        batch = scratch_source.capture()
        assert batch is not None
        assert reached.pop() == "scan"
        assert scratch_source.capture() is None
        with scratch_source.open() as connection:
            now = connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        if now == (batch.snapshot,):
            break
        reached.clear()
    assert reached == []


def test_transactions_that_change_nothing_make_no_batch(scratch_source: ScratchSource) -> None:
    scratch_source.stocked().run(
        "CREATE TEMP TABLE fleeting AS SELECT 1; SELECT pg_current_xact_id()"
    )
    assert scratch_source.capture() is None
    assert len(lake_reader.batches(scratch_source.store)) == 1


# Heartbeats


def test_a_quiet_source_leaves_a_heartbeat_now_and_then(scratch_source: ScratchSource) -> None:
    scratch_source.stocked()
    now = datetime.now(UTC)
    assert scratch_source.capture() is None
    assert last_heartbeat(scratch_source.store, now) is None, "the batch itself is young enough"
    restamp(scratch_source, now - HEARTBEAT_EVERY)
    checked = ingest(scratch_source.dsn, scratch_source.store, scratch_source.scope).checked_at
    assert last_heartbeat(scratch_source.store, now) == Heartbeat(batch=1, checked_at=checked)
    assert scratch_source.capture() is None
    assert len(list(scratch_source.store.list("heartbeats"))) == 1, "one is enough for ten minutes"


def test_a_heartbeat_of_yesterday_counts(scratch_source: ScratchSource) -> None:
    now = datetime.now(UTC)
    scratch_source.stocked()
    restamp(scratch_source, now - timedelta(hours=25))
    scratch_source.capture()
    assert last_heartbeat(scratch_source.store, now + timedelta(days=1)) is not None
    assert last_heartbeat(scratch_source.store, now + timedelta(days=2)) is None


def test_a_heartbeat_also_comes_from_a_source_busy_with_other_things(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.stocked()
    restamp(scratch_source, datetime.now(UTC) - HEARTBEAT_EVERY)
    scratch_source.run("SELECT pg_current_xact_id()")
    assert scratch_source.capture() is None
    assert len(list(scratch_source.store.list("heartbeats"))) == 1


# Rivals


def test_of_two_ingests_at_once_one_wins_and_both_succeed(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.stocked().run("INSERT INTO item VALUES (4)")
    both = threading.Barrier(2)
    turns = [both.wait, both.wait]
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: turns and turns.pop()())
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: scratch_source.capture(), range(2)))
    assert sorted(result is None for result in results) == [False, True]
    assert [batch.batch for batch in lake_reader.batches(scratch_source.store)] == [1, 2]
    assert scratch_source.is_carried_whole()


def test_the_loser_takes_what_came_after_the_winners_snapshot(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.stocked().run("INSERT INTO item VALUES (4)")

    def rival() -> None:
        assert scratch_source.capture() is not None
        scratch_source.run("INSERT INTO item VALUES (5); DELETE FROM item WHERE id = 4")

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(rival))
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.batch == 3
    assert scratch_source.is_carried_whole()


def test_rival_first_captures_leave_one_first_batch(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.run("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")

    def rival() -> None:
        assert scratch_source.capture() is not None

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(rival))
    assert scratch_source.capture() is None
    assert [batch.batch for batch in lake_reader.batches(scratch_source.store)] == [1]


# Things that break


@pytest.mark.parametrize("lost", [{2}, {2, 3, 4, 5}, {1}])
def test_a_lost_manifests_number_is_not_given_again(
    scratch_source: ScratchSource, lost: set[int]
) -> None:
    scratch_source.stocked()
    for number in range(10, 18):
        scratch_source.run(f"INSERT INTO item VALUES ({number})")
        scratch_source.capture()
    for batch in lost:
        (scratch_source.lake / manifest_path(batch)).unlink()
    scratch_source.run("INSERT INTO item VALUES (99)")
    with pytest.raises(LakeError, match=rf"{min(lost):012d}.json is missing .* backup"):
        scratch_source.capture()
    assert not any((scratch_source.lake / manifest_path(batch)).exists() for batch in lost)


def test_a_killed_ingest_leaves_no_batch_and_the_next_one_is_whole(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.stocked().run("INSERT INTO item VALUES (4)")

    def die() -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(failpoint.actions, "ingest.captured", once(die))
    with pytest.raises(KeyboardInterrupt):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1
    assert scratch_source.changes() == {("upsert", 4)}


def test_a_damaged_key_file_is_named_and_nothing_is_published(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.stocked().run("INSERT INTO item VALUES (4)")
    (key_file,) = lake_reader.batches(scratch_source.store)[0].tables[0].keys
    path = scratch_source.lake / key_file.path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(LakeError, match=key_file.path):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1


def test_a_server_that_goes_away_is_one_error(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the connections it hits."""
    scratch_source.stocked(1000)
    monkeypatch.setattr(scan, "_CHUNK_BYTES", 8192)
    monkeypatch.setattr(scan, "_CHUNKS_PER_PIECE", 1)
    scratch_source.run(
        "UPDATE item SET name = 'new'; ALTER TABLE item ADD COLUMN extra int DEFAULT 1"
    )
    read = changes._bytes
    left = iter(range(5))

    def hang_up(cursor: psycopg.Cursor) -> list[bytes]:
        if next(left, None) is None:
            cursor.connection.close()
        return read(cursor)

    monkeypatch.setattr(changes, "_bytes", hang_up)
    with pytest.raises(SourceError, match="check that the server runs") as broken:
        scratch_source.capture()
    assert "\n" not in str(broken.value)
    monkeypatch.undo()
    scratch_source.capture()
    assert scratch_source.is_carried_whole()


def test_an_error_in_one_piece_keeps_the_others_from_beginning(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_CHUNK_BYTES", 8192)
    monkeypatch.setattr(scan, "_CHUNKS_PER_PIECE", 1)
    scratch_source.stocked(20_000).run("ALTER TABLE item ADD COLUMN v int")
    begun: list[Span] = []
    read = reading.read_changes

    def counted(
        connection: psycopg.Connection,
        table: SourceTable,
        current: int,
        horizon: Horizon | None,
        span: Span,
    ) -> Iterator[Chunk]:
        begun.append(span)
        connection.close()
        return read(connection, table, current, horizon, span)

    monkeypatch.setattr(scan, "read_changes", counted)
    with pytest.raises(SourceError, match="closed"):
        scratch_source.capture()
    assert len(begun) < 50, "of some 125"


def test_the_last_piece_of_a_table_has_no_end(scratch_source: ScratchSource) -> None:
    with scratch_source.open() as connection:
        found = [changes._within(span).as_string(connection) for span in changes.split(5, 2)]
    assert [text.count("<") for text in found] == [1, 1, 0]
    assert "(4,0)" in found[1]
    assert "(4,0)" in found[2]


def test_a_scratch_folder_with_a_hostile_name_works(
    scratch_source: ScratchSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / 'it\'s 100% "mine" [x] *'
    hostile.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(hostile))
    with scratch_source.stocked().open() as late:
        late.execute("SELECT pg_current_xact_id()")
        for number in range(4, 7):
            scratch_source.run(
                f"INSERT INTO item VALUES ({number}); DELETE FROM item WHERE id = {number - 3}"
            )
            assert len(scratch_source.changes()) == 2
    assert list(hostile.iterdir()) == [], "and is left empty"


def test_more_than_postgresqls_longest_value_is_read_in_halves(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch_source.stocked(100)
    read, refused = changes._bytes, []

    def at_most_sixteen(cursor: psycopg.Cursor) -> list[bytes]:
        values = read(cursor)
        if int(values[1]) > 16:
            refused.append(values[1])
            raise psycopg.errors.ProgramLimitExceeded("string buffer exceeds maximum length")
        return values

    monkeypatch.setattr(changes, "_bytes", at_most_sixteen)
    scratch_source.run("UPDATE item SET price = 1; ALTER TABLE item ADD extra int DEFAULT 3")
    assert len(scratch_source.changes()) == 100
    assert refused
    assert scratch_source.is_carried_whole()


def test_an_older_server_than_supported_is_refused(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OLDEST", 990000)
    with pytest.raises(SourceError, match="older than PostgreSQL 14"):
        scratch_source.stocked()


def test_one_row_too_long_for_postgresql_is_one_error(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(_: psycopg.Cursor) -> list[bytes]:
        raise psycopg.errors.ProgramLimitExceeded("string buffer exceeds maximum length")

    scratch_source.stocked().run("INSERT INTO item VALUES (4)")
    monkeypatch.setattr(changes, "_bytes", too_long)
    with pytest.raises(SourceError, match="exceeds maximum length"):
        scratch_source.capture(Accept())
