"""A different source is rejected until accepted, so that a wrong DSN deletes nothing."""

from pathlib import Path

import lake_reader
import psycopg
import pytest
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource, create_scratch_source

from conftest import ClusterFactory
from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer
from totes.errors import SourceError
from totes.lake.manifest import Manifest, manifest_path
from totes.stages.ingest import AcceptOptions

pytestmark = pytest.mark.few(4)

ACCEPT_NEW_SOURCE = AcceptOptions(new_source=True)


def assert_rejected(scratch_source: ScratchSource, reason: str) -> None:
    """Capture fails with a message of one line, and publishes nothing."""
    before = list(scratch_source.store.list(""))
    with pytest.raises(SourceError, match=f"{reason}.*--accept-new-source") as error:
        scratch_source.capture()
    assert "\n" not in str(error.value)
    assert list(scratch_source.store.list("")) == before


def change_identity(scratch_source: ScratchSource, **fields: object) -> None:
    """Change the source identity in the newest batch."""
    newest = lake_reader.batches(scratch_source.store)[-1]
    identity = newest.identity.model_copy(update=fields)
    path = scratch_source.lake / manifest_path(newest.batch)
    path.unlink()
    path.write_bytes(newest.model_copy(update={"identity": identity}).to_json())


def accept_source(scratch_source: ScratchSource) -> Manifest:
    batch = scratch_source.capture(ACCEPT_NEW_SOURCE)
    assert batch is not None
    assert scratch_source.lake_equals_source()
    assert scratch_source.capture() is None
    return batch


def test_a_different_server_is_rejected_until_accepted(scratch_source: ScratchSource) -> None:
    change_identity(scratch_source.add_items(), system_identifier="12345")
    assert_rejected(scratch_source, "its server is .*batch 1 came from 12345")
    scratch_source.run("DELETE FROM item WHERE id = 2")
    batch = accept_source(scratch_source)
    assert batch.tables[0].whole
    assert {line["_op"] for line in lake_reader.lines(scratch_source.store, batch, "item")} == {
        "upsert",
        "delete",
    }


def test_a_different_database_of_a_server_is_rejected_until_accepted(
    scratch_source: ScratchSource, server: EmbeddedServer, tmp_path: Path
) -> None:
    scratch_source.add_items()
    other = create_scratch_source(server, tmp_path, "other_totesys")
    try:
        other.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(2)}")
        assert_rejected(other, r"its database is 'other_totesys' \(OID \d+\)")
        accept_source(other)
        assert len(lake_reader.rows(other.store, "item")) == 2
    finally:
        with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
            connection.execute("DROP DATABASE other_totesys WITH (FORCE)")


def test_a_renamed_database_is_the_same_source(scratch_source: ScratchSource) -> None:
    change_identity(scratch_source.add_items(), database="former_name")
    assert scratch_source.capture() is None


def test_a_different_timeline_is_rejected_until_accepted(scratch_source: ScratchSource) -> None:
    change_identity(scratch_source.add_items(), timeline=7)
    assert_rejected(scratch_source, "its timeline is 1, batch 1 came from 7")
    accept_source(scratch_source)


def test_an_older_transaction_counter_is_rejected_until_accepted(
    scratch_source: ScratchSource,
) -> None:
    """A restored file-level backup has the same identity."""
    scratch_source.add_items()
    newest = lake_reader.batches(scratch_source.store)[-1]
    path = scratch_source.lake / manifest_path(1)
    path.unlink()
    path.write_bytes(newest.model_copy(update={"snapshot": "9000000:9000000:"}).to_json())
    assert_rejected(scratch_source, "its transaction counter is behind that of batch 1")
    accept_source(scratch_source)


def test_an_emptied_source_is_rejected(scratch_source: ScratchSource) -> None:
    scratch_source.add_items(200).run("DELETE FROM item")
    with pytest.raises(SourceError, match="--accept-deletes"):
        scratch_source.capture()
    scratch_source.run("DROP TABLE item")
    with pytest.raises(SourceError, match="no tables"):
        scratch_source.capture()
    assert len(lake_reader.batches(scratch_source.store)) == 1


def test_accepting_a_new_source_does_not_accept_deletes(
    scratch_source: ScratchSource,
) -> None:
    change_identity(scratch_source.add_items(200), timeline=7)
    scratch_source.run("DELETE FROM item")
    with pytest.raises(SourceError, match="--accept-deletes"):
        scratch_source.capture(ACCEPT_NEW_SOURCE)
    assert scratch_source.capture(AcceptOptions(new_source=True, deletes=True)) is not None
    assert scratch_source.lake_equals_source()


def test_accept_options_that_are_not_needed_change_nothing(scratch_source: ScratchSource) -> None:
    scratch_source.add_items()
    assert scratch_source.capture(AcceptOptions(new_source=True, deletes=True)) is None


def test_a_restored_backup_is_rejected_until_accepted(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    primary = cluster(synchronous_commit="on")
    scratch_source = create_scratch_source(primary, tmp_path).add_items()
    restored = cluster(standby_of=primary)
    scratch_source.run("INSERT INTO item VALUES (4)")
    assert scratch_source.changes() == {("upsert", 4)}
    scratch_source.run("INSERT INTO item VALUES (5)")
    assert scratch_source.changes() == {("upsert", 5)}
    promote(restored)
    move_to(scratch_source, restored).run(
        "DELETE FROM item WHERE id > 3; UPDATE item SET name = 'r' WHERE id = 1"
    )
    assert_rejected(
        scratch_source, r"its timeline is 2, batch 3 came from 1 \(a standby was promoted"
    )
    accept_source(scratch_source)
    assert len(lake_reader.rows(scratch_source.store, "item")) == 3


def test_a_hot_standby_is_captured_and_rejected_after_its_promotion(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    primary = cluster(synchronous_commit="on")
    scratch_source = create_scratch_source(primary, tmp_path)
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(500)}")
    standby = cluster(standby_of=primary)
    standby_source = move_to(
        ScratchSource(scratch_source.owner, scratch_source.dsn, scratch_source.lake), standby
    )

    def read() -> set[tuple[str, object]]:
        catch_up(primary, standby)
        return standby_source.changes()

    assert len(read()) == 500
    with scratch_source.open() as first, scratch_source.open() as second:
        first.execute("UPDATE item SET name = 'first' WHERE id = 1")
        second.execute("UPDATE item SET name = 'second' WHERE id = 5")
        first.execute("SAVEPOINT inner_work")
        first.execute("UPDATE item SET name = 'first' WHERE id = 2")
        scratch_source.run(
            "UPDATE item SET name = 'early' WHERE id = 3; DELETE FROM item WHERE id = 4"
        )
        assert read() == {("upsert", 3), ("delete", 4)}
        assert read() == set()
        second.commit()  # which leaves the standby's snapshot unchanged
        assert read() == {("upsert", 5)}
        first.commit()
    assert read() == {("upsert", 1), ("upsert", 2)}
    assert scratch_source.lake_equals_source()
    scratch_source.run("INSERT INTO item VALUES (1000)")
    catch_up(primary, standby)
    assert scratch_source.changes() == {("upsert", 1000)}, (
        "captures can switch between standby and primary"
    )
    catch_up(primary, standby)
    assert standby_source.capture() is None
    promote(standby)
    assert_rejected(standby_source, "its timeline is 2")
    accept_source(standby_source)


def move_to(scratch_source: ScratchSource, server: EmbeddedServer) -> ScratchSource:
    """Use the same database on another server."""
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
