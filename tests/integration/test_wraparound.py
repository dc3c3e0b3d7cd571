"""Transaction ids have 32 bits in rows and 64 in snapshots; no change is missed at a wraparound."""

import shutil
from pathlib import Path

import psycopg
import pytest
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource, create_scratch_source

from conftest import ClusterFactory
from totes.embedded.servers import EmbeddedServer
from totes.source.changes import Horizon, _changed_exactly, _xid_sql

MARGIN = 100

STRIDE = 2_000_000_000
"""Less than half of 2^32: the most transactions between two runs of VACUUM (FREEZE)."""

SEGMENT = 1 << 20
"""The number of transactions whose status is in one file of pg_xact."""


def advance_transaction_id(server: EmbeddedServer, to: int) -> None:
    """Set the server's 64-bit transaction id, with all older rows frozen."""
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
        for near in (position, (position + 4 * MARGIN) % (1 << 32)):
            status = server.data / "pg_xact" / f"{near // SEGMENT:04X}"
            if not status.exists():  # the server would have created it
                status.write_bytes(bytes(256 << 10))
                shutil.chown(status, owner.st_uid, owner.st_gid)
        server.start()


def freeze(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn.reveal()) as connection:
        rows = connection.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in rows:
        dsn = server.dsn.replace(dbname=database)
        with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
            connection.execute("VACUUM (FREEZE)")


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "boundary",
    [1 << 31, 1 << 32, (1 << 32) + (1 << 31), 5 << 32],
    ids=["2^31", "2^32", "3·2^31", "5·2^32"],
)
def test_changes_before_and_after_a_wraparound_are_captured_once(
    cluster: ClusterFactory,
    tmp_path: Path,
    boundary: int,
) -> None:
    server = cluster(autovacuum="off")
    scratch_source = create_scratch_source(server, tmp_path)
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(50)}")
    advance_transaction_id(server, boundary - MARGIN)
    assert len(scratch_source.changes()) == 50
    scratch_source.run("UPDATE item SET name = 'before' WHERE id = 1")
    assert scratch_source.changes() == {("upsert", 1)}
    with scratch_source.open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 2")
        consume_transaction_ids(scratch_source, 2 * MARGIN)
        scratch_source.run(
            "UPDATE item SET name = 'after' WHERE id = 3; DELETE FROM item WHERE id = 4"
        )
        (line,) = [line for line in scratch_source.captured_lines() if line["_op"] == "upsert"]
        assert line["id"] == 3
        assert int(line["_xid"]) > boundary
        assert scratch_source.capture() is None
        late.commit()
    (line,) = scratch_source.captured_lines()
    assert line["id"] == 2
    assert int(line["_xid"]) < boundary
    scratch_source.run("VACUUM FREEZE item")
    assert scratch_source.capture() is None
    scratch_source.run("UPDATE item SET name = 'frozen' WHERE id = 5")
    assert scratch_source.changes() == {("upsert", 5)}
    assert scratch_source.lake_equals_source()


def test_no_change_is_missed_after_two_billion_transactions(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    server = cluster(autovacuum="off")
    scratch_source = create_scratch_source(server, tmp_path).add_items(10)
    scratch_source.run("UPDATE item SET name = 'long ago' WHERE id = 1")
    advance_transaction_id(server, (1 << 31) + 5000)
    scratch_source.run("UPDATE item SET name = 'now' WHERE id = 2; DELETE FROM item WHERE id = 3")
    changes = scratch_source.changes()
    assert {("upsert", 1), ("upsert", 2), ("delete", 3)} <= changes
    assert scratch_source.lake_equals_source()


def consume_transaction_ids(scratch_source: ScratchSource, transactions: int) -> None:
    with scratch_source.open() as connection:
        connection.autocommit = True
        for _ in range(transactions):
            connection.execute("SELECT pg_current_xact_id()")


WRITTEN = [3, 1000, (1 << 31) - 1, (1 << 31) + 5, (1 << 32) - 1, (1 << 32) + 3, 7 << 32]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("later", [1, 500, (1 << 31) - 1, (1 << 31), (1 << 32) - 1])
def test_the_64_bit_id_of_a_row_is_exact_for_four_billion_transactions(
    server: EmbeddedServer, written: int, later: int
) -> None:
    """The SQL expressions are evaluated for rows in which `xmin` is an ordinary column."""
    xmax = written + later
    with psycopg.connect(server.dsn.reveal()) as connection:
        row = f"(SELECT '{written % (1 << 32)}'::xid AS xmin) AS t"
        text = _xid_sql(xmax).as_string(connection)
        assert connection.execute(f"SELECT {text} FROM {row}".encode()).fetchone() == (written,)
        for oldest, is_changed in ((written, True), (written + 1, False)):
            exact = _changed_exactly(Horizon(oldest, xmax)).as_string(connection)
            found = connection.execute(f"SELECT {exact} FROM {row}".encode()).fetchone()
            assert found == (is_changed,)
