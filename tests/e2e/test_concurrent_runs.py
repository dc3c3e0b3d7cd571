"""Concurrent processes that do the same work lose and duplicate nothing."""

import lake_reader
import psycopg
from checked_installation import CheckedInstallation
from depth import sample
from faults import run_concurrently
from installation import Installation

from totes.lake.manifest import manifest_path
from totes.lake.manifests import find_newest_number
from totes.lake.store import Store

ROUNDS = (
    ["run", "run"],
    ["ingest", "ingest", "ingest"],
    ["transform", "transform", "ingest"],
    ["load", "load", "transform"],
    ["ingest", "transform", "load", "run"],
    ["run", "run", "run"],
)
"""The commands that run at the same time in each round; totesys changes between the rounds."""

REPLAY_ROUNDS = (["replay", "run", "run"], ["replay", "replay"], ["replay", "load", "load"])


def test_concurrent_stages_publish_each_batch_once(installation: Installation) -> None:
    journey = CheckedInstallation(installation.add_orders(6), installation.pipeline)
    rounds = sample(2, ROUNDS * 2, "concurrent stages")
    for commands in rounds:
        assert run_concurrently(installation.pipeline, commands) == [0] * len(commands)
        journey.record_batches()
        journey.change()
    installation.run()
    journey.record_batches()
    journey.assert_correct()
    assert_no_lock_is_left(installation)
    assert journey.last_batch == len(rounds) + 1 - rounds.count(["load", "load", "transform"])


def test_concurrent_replays_and_runs_end_with_the_newest_generation(
    installation: Installation,
) -> None:
    journey = CheckedInstallation(installation.add_orders(6), installation.pipeline)
    installation.run()
    journey.record_batches()
    for commands in sample(1, REPLAY_ROUNDS, "concurrent replays"):
        journey.change()
        run_concurrently(installation.pipeline, commands)
        journey.record_batches()
    installation.run()
    journey.record_batches()
    journey.assert_correct()
    assert_no_lock_is_left(installation)


def test_orphaned_files_of_concurrent_runs_are_never_read(installation: Installation) -> None:
    """Attempts that lost against a concurrent run leave files, which no reader counts."""
    journey = CheckedInstallation(installation.add_orders(6), installation.pipeline)
    orphaned_files = 0
    for _ in range(8):
        assert run_concurrently(installation.pipeline, ["ingest"] * 3) == [0] * 3
        journey.record_batches()
        orphaned_files = count_orphaned_files(journey.pipeline.ingestion)
        if orphaned_files:
            break
        journey.change()
    assert orphaned_files, "no attempt lost against a concurrent one"
    installation.run()
    journey.assert_correct()


def count_orphaned_files(store: Store) -> int:
    """Return the number of data files that no manifest names."""
    named = {
        file.path
        for batch in lake_reader.batches(store)
        for table in batch.tables
        for file in (*table.files, *table.keys, *filter(None, [table.overlap]))
    }
    assert find_newest_number(store, manifest_path)
    stored = {key for key in store.list("") if not key.startswith(("batches/", "heartbeats/"))}
    assert stored >= named
    return len(stored - named)


def assert_no_lock_is_left(installation: Installation) -> None:
    with psycopg.connect(installation.warehouse.reveal(), autocommit=True) as connection:
        held = connection.execute(
            "SELECT locktype, mode FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND locktype = 'advisory'"
        ).fetchall()
    assert held == []
