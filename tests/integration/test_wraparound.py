"""Transaction numbers have 32 bits in the rows and 64 in the snapshots; no change falls between."""

import shutil
from pathlib import Path

import psycopg
import pytest
from scratch_source import ITEM, STOCK, ScratchSource, scratch_source_on

from conftest import ClusterFactory
from totes.embedded.servers import EmbeddedServer
from totes.source.changes import Horizon, _changed_exactly, _written_by

NEAR = 100

STRIDE = 2_000_000_000
"""Less than half of what 32 bits count: how far a counter may go between two freezings."""

SEGMENT = 1 << 20
"""Transactions whose status one file of pg_xact holds."""


def wind(server: EmbeddedServer, to: int) -> None:
    """Move the server's counter as if so many transactions had been, frozen in time; 64-bit."""
    epoch, low = divmod(to, 1 << 32)
    for position in (*range(STRIDE, low, STRIDE), low):
        freeze(server)
        server.stop()
        server.run(
            "pg_resetwal",
            f"--epoch={epoch}",
            f"--next-transaction-id={position}",
            f"--oldest-transaction-id={max(3, position - STRIDE)}",
            str(server.data),
        )
        owner = (server.data / "PG_VERSION").stat()
        for near in (position, (position + 4 * NEAR) % (1 << 32)):
            status = server.data / "pg_xact" / f"{near // SEGMENT:04X}"
            if not status.exists():  # as the server would have left it on its way there
                status.write_bytes(bytes(256 << 10))
                shutil.chown(status, owner.st_uid, owner.st_gid)
        server.start()


def freeze(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn.reveal()) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in found:
        dsn = server.dsn.replace(dbname=database)
        with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
            connection.execute("VACUUM (FREEZE)")


@pytest.mark.parametrize(
    "boundary",
    [1 << 31, 1 << 32, (1 << 32) + (1 << 31), 5 << 32],
    ids=["2^31", "2^32", "3·2^31", "5·2^32"],
)
def test_changes_on_both_sides_of_a_boundary_are_captured_once(
    cluster: ClusterFactory,
    tmp_path: Path,
    boundary: int,
) -> None:
    server = cluster(autovacuum="off")
    scratch_source = scratch_source_on(server, tmp_path)
    scratch_source.run(f"{ITEM}; {STOCK.format(50)}")
    wind(server, boundary - NEAR)
    assert len(scratch_source.changes()) == 50
    scratch_source.run("UPDATE item SET name = 'before' WHERE id = 1")
    assert scratch_source.changes() == {("upsert", 1)}
    with scratch_source.open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 2")
        use_up(scratch_source, 2 * NEAR)
        scratch_source.run(
            "UPDATE item SET name = 'after' WHERE id = 3; DELETE FROM item WHERE id = 4"
        )
        (line,) = [line for line in scratch_source.carried() if line["_op"] == "upsert"]
        assert line["id"] == 3
        assert int(line["_xid"]) > boundary
        assert scratch_source.capture() is None
        late.commit()
    (line,) = scratch_source.carried()
    assert line["id"] == 2
    assert int(line["_xid"]) < boundary
    scratch_source.run("VACUUM FREEZE item")
    assert scratch_source.capture() is None
    scratch_source.run("UPDATE item SET name = 'frozen' WHERE id = 5")
    assert scratch_source.changes() == {("upsert", 5)}
    assert scratch_source.is_carried_whole()


def test_a_horizon_from_half_a_lap_ago_misses_nothing(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    server = cluster(autovacuum="off")
    scratch_source = scratch_source_on(server, tmp_path).stocked(10)
    scratch_source.run("UPDATE item SET name = 'long ago' WHERE id = 1")
    wind(server, (1 << 31) + 5000)
    scratch_source.run("UPDATE item SET name = 'now' WHERE id = 2; DELETE FROM item WHERE id = 3")
    changed = scratch_source.changes()
    assert {("upsert", 1), ("upsert", 2), ("delete", 3)} <= changed
    assert scratch_source.is_carried_whole()


def use_up(scratch_source: ScratchSource, transactions: int) -> None:
    with scratch_source.open() as connection:
        connection.autocommit = True
        for _ in range(transactions):
            connection.execute("SELECT pg_current_xact_id()")


WRITTEN = [3, 1000, (1 << 31) - 1, (1 << 31) + 5, (1 << 32) - 1, (1 << 32) + 3, 7 << 32]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("later", [1, 500, (1 << 31) - 1, (1 << 31), (1 << 32) - 1])
def test_a_row_is_dated_exactly_up_to_a_whole_lap_later(
    server: EmbeddedServer, written: int, later: int
) -> None:
    """The expressions themselves, over rows whose `xmin` is a plain column."""
    current = written + later
    with psycopg.connect(server.dsn.reveal()) as connection:
        row = f"(SELECT '{written % (1 << 32)}'::xid AS xmin) AS t"
        text = _written_by(current).as_string(connection)
        assert connection.execute(f"SELECT {text} FROM {row}".encode()).fetchone() == (written,)
        for oldest, seen in ((written, True), (written + 1, False)):
            exact = _changed_exactly(Horizon(oldest, current)).as_string(connection)
            found = connection.execute(f"SELECT {exact} FROM {row}".encode()).fetchone()
            assert found == (seen,)
