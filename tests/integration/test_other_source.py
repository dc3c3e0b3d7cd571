"""A wrong DSN never becomes a mass deletion: another source is refused until accepted."""

from pathlib import Path

import lake_reader
import psycopg
import pytest
from scratch_source import ITEM, STOCK, ScratchSource, scratch_source_on

from conftest import ClusterFactory
from totes.config.settings import Dsn
from totes.embedded.servers import EmbeddedServer
from totes.errors import SourceError
from totes.lake.manifest import Manifest, manifest_path
from totes.stages.ingest import Accept

ANEW = Accept(new_source=True)


def refused(scratch_source: ScratchSource, reason: str) -> None:
    """One line that says why and what to do, and nothing is published."""
    before = list(scratch_source.store.list(""))
    with pytest.raises(SourceError, match=f"{reason}.*--accept-new-source") as error:
        scratch_source.capture()
    assert "\n" not in str(error.value)
    assert list(scratch_source.store.list("")) == before


def pretend(scratch_source: ScratchSource, **changed: object) -> None:
    """Let the newest batch have come from somewhere else."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    identity = newest.identity.model_copy(update=changed)
    path = scratch_source.lake / manifest_path(newest.batch)
    path.unlink()
    path.write_bytes(newest.model_copy(update={"identity": identity}).to_json())


def accepted(scratch_source: ScratchSource) -> Manifest:
    batch = scratch_source.capture(ANEW)
    assert batch is not None
    assert scratch_source.is_carried_whole()
    assert scratch_source.capture() is None
    return batch


def test_another_server_is_refused_until_accepted(scratch_source: ScratchSource) -> None:
    pretend(scratch_source.stocked(), system_identifier="12345")
    refused(scratch_source, "its server is .*batch 1 came from 12345")
    scratch_source.run("DELETE FROM item WHERE id = 2")
    batch = accepted(scratch_source)
    assert batch.tables[0].whole
    assert {line["_op"] for line in lake_reader.lines(scratch_source.store, batch, "item")} == {
        "upsert",
        "delete",
    }


def test_another_database_of_the_same_server_is_refused_until_accepted(
    scratch_source: ScratchSource, server: EmbeddedServer, tmp_path: Path
) -> None:
    scratch_source.stocked()
    other = scratch_source_on(server, tmp_path, "other_totesys")
    try:
        other.run(f"{ITEM}; {STOCK.format(2)}")
        refused(other, r"its database is 'other_totesys' \(OID \d+\)")
        accepted(other)
        assert len(lake_reader.rows(other.store, "item")) == 2
    finally:
        with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
            connection.execute("DROP DATABASE other_totesys WITH (FORCE)")


def test_a_renamed_database_is_the_same_source(scratch_source: ScratchSource) -> None:
    pretend(scratch_source.stocked(), database="former_name")
    assert scratch_source.capture() is None


def test_another_timeline_is_refused(scratch_source: ScratchSource) -> None:
    pretend(scratch_source.stocked(), timeline=7)
    refused(scratch_source, "its timeline is 1, batch 1 came from 7")
    accepted(scratch_source)


def test_a_counter_behind_the_last_batch_is_refused(scratch_source: ScratchSource) -> None:
    """A file-level copy put back has the same identity."""
    scratch_source.stocked()
    newest = lake_reader.batches(scratch_source.store)[-1]
    path = scratch_source.lake / manifest_path(1)
    path.unlink()
    path.write_bytes(newest.model_copy(update={"snapshot": "9000000:9000000:"}).to_json())
    refused(scratch_source, "its transaction counter is behind batch 1's")
    accepted(scratch_source)


def test_an_emptied_source_is_refused(scratch_source: ScratchSource) -> None:
    scratch_source.stocked(200).run("DELETE FROM item")
    with pytest.raises(SourceError, match="--accept-deletes"):
        scratch_source.capture()
    scratch_source.run("DROP TABLE item")
    with pytest.raises(SourceError, match="no tables"):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1


def test_accepting_another_source_is_not_accepting_mass_deletion(
    scratch_source: ScratchSource,
) -> None:
    pretend(scratch_source.stocked(200), timeline=7)
    scratch_source.run("DELETE FROM item")
    with pytest.raises(SourceError, match="--accept-deletes"):
        scratch_source.capture(ANEW)
    assert scratch_source.capture(Accept(new_source=True, deletes=True)) is not None
    assert scratch_source.is_carried_whole()


def test_accepting_what_needs_no_accepting_changes_nothing(scratch_source: ScratchSource) -> None:
    scratch_source.stocked()
    assert scratch_source.capture(Accept(new_source=True, deletes=True)) is None


def test_a_backup_that_was_restored_is_refused_until_accepted(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    primary = cluster(synchronous_commit="on")
    scratch_source = scratch_source_on(primary, tmp_path).stocked()
    restored = cluster(standby_of=primary)
    scratch_source.run("INSERT INTO item VALUES (4)")
    assert scratch_source.changes() == {("upsert", 4)}
    scratch_source.run("INSERT INTO item VALUES (5)")
    assert scratch_source.changes() == {("upsert", 5)}
    promote(restored)
    at(scratch_source, restored).run(
        "DELETE FROM item WHERE id > 3; UPDATE item SET name = 'r' WHERE id = 1"
    )
    refused(scratch_source, r"its timeline is 2, batch 3 came from 1 \(a standby was promoted")
    accepted(scratch_source)
    assert len(lake_reader.rows(scratch_source.store, "item")) == 3


def test_a_hot_standby_is_read_like_its_primary_and_refused_once_promoted(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    primary = cluster(synchronous_commit="on")
    scratch_source = scratch_source_on(primary, tmp_path)
    scratch_source.run(f"{ITEM}; {STOCK.format(500)}")
    standby = cluster(standby_of=primary)
    reading = at(
        ScratchSource(scratch_source.owner, scratch_source.dsn, scratch_source.lake), standby
    )

    def read() -> set[tuple[str, object]]:
        catch_up(primary, standby)
        return reading.changes()

    assert len(read()) == 500
    with scratch_source.open() as late, scratch_source.open() as later:
        late.execute("UPDATE item SET name = 'late' WHERE id = 1")
        later.execute("UPDATE item SET name = 'later' WHERE id = 5")
        late.execute("SAVEPOINT inner_work")
        late.execute("UPDATE item SET name = 'late' WHERE id = 2")
        scratch_source.run(
            "UPDATE item SET name = 'early' WHERE id = 3; DELETE FROM item WHERE id = 4"
        )
        assert read() == {("upsert", 3), ("delete", 4)}
        assert read() == set()
        later.commit()  # a standby's snapshot reads as before: it doesn't name who is running
        assert read() == {("upsert", 5)}
        late.commit()
    assert read() == {("upsert", 1), ("upsert", 2)}
    assert scratch_source.is_carried_whole()
    scratch_source.run("INSERT INTO item VALUES (1000)")
    catch_up(primary, standby)
    assert scratch_source.changes() == {("upsert", 1000)}, "and changes hands with its primary"
    catch_up(primary, standby)
    assert reading.capture() is None
    promote(standby)
    refused(reading, "its timeline is 2")
    accepted(reading)


def at(scratch_source: ScratchSource, server: EmbeddedServer) -> ScratchSource:
    """The same database on another server."""
    host = server.dsn.parts["host"]
    scratch_source.owner, scratch_source.dsn = (
        Dsn(dsn.reveal()).replace(host=str(host))
        for dsn in (scratch_source.owner, scratch_source.dsn)
    )
    return scratch_source


def promote(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


def catch_up(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    with psycopg.connect(primary.dsn.reveal(), autocommit=True) as connection:
        connection.execute("SELECT pg_log_standby_snapshot()")
        (position,) = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ("",)
    with psycopg.connect(standby.dsn.reveal(), autocommit=True) as connection:
        while connection.execute(
            "SELECT pg_last_wal_replay_lsn() < %s::pg_lsn", [position]
        ).fetchone() == (True,):
            pass
