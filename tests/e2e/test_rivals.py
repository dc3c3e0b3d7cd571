"""Any number at once: processes that do the same work lose nothing and double nothing."""

import lake_reader
import psycopg
from checked_installation import CheckedInstallation
from faults import together
from installation import Installation

from totes.lake.log import newest
from totes.lake.manifest import manifest_path
from totes.lake.store import Store

ROUNDS = (
    ["run", "run"],
    ["ingest", "ingest", "ingest"],
    ["transform", "transform", "ingest"],
    ["load", "load", "transform"],
    ["ingest", "transform", "load", "run"],
    ["run", "run", "run"],
)
"""What is at work at the same time; between two rounds totesys changes."""


def test_rivals_of_every_kind_publish_each_batch_once(installation: Installation) -> None:
    journey = CheckedInstallation(installation.filled(6), installation.pipeline)
    for commands in ROUNDS * 2:
        assert together(installation.pipeline, commands) == [0] * len(commands)
        journey.note()
        journey.change()
    installation.run()
    journey.note()
    journey.assert_whole()
    assert_no_lock_is_left(installation)
    assert journey.known == 2 * len(ROUNDS) + 1 - ROUNDS.count(["load", "load", "transform"]) * 2


def test_a_replay_beside_runs_and_another_replay_ends_with_the_newest_generation(
    installation: Installation,
) -> None:
    journey = CheckedInstallation(installation.filled(6), installation.pipeline)
    installation.run()
    journey.note()
    for commands in (["replay", "run", "run"], ["replay", "replay"], ["replay", "load", "load"]):
        journey.change()
        together(installation.pipeline, commands)
        journey.note()
    installation.run()
    journey.note()
    journey.assert_whole()
    assert_no_lock_is_left(installation)


def test_what_a_rival_left_is_never_read_as_data(installation: Installation) -> None:
    """Files of attempts that came second lie in the lake, and no reader counts them."""
    journey = CheckedInstallation(installation.filled(6), installation.pipeline)
    left = 0
    for _ in range(8):
        assert together(installation.pipeline, ["ingest"] * 3) == [0] * 3
        journey.note()
        left = orphaned(journey.pipeline.ingestion)
        if left:
            break
        journey.change()
    assert left, "the rivals never met"
    installation.run()
    journey.assert_whole()


def orphaned(store: Store) -> int:
    """How many data files no manifest names."""
    named = {
        file.path
        for batch in lake_reader.batches(store)
        for table in batch.tables
        for file in (*table.files, *table.keys, *filter(None, [table.repeats]))
    }
    assert newest(store, manifest_path)
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
