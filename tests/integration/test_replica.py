"""The dashboard's replica: equal to the warehouse after whatever happens to either of them."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest
from database import execute, fetch_rows
from depth import drawn, seeded_random
from processed_lake import (
    ALL,
    DIMENSIONS,
    ProcessedLake,
    Row,
    currency,
    design,
    moment,
    payment,
    purchase,
    rejected_row,
    sale,
    staff,
)
from psycopg import sql

from conftest import ClusterFactory, EmptyWarehouse
from totes.config.dsn import Dsn
from totes.dashboard.replica import Replica, open_replica
from totes.dashboard.replica.tables import TABLES
from totes.embedded.servers import prepare_warehouse
from totes.progress import NoProgress
from totes.sql_text import quote
from totes.stages.load import load, rebuild
from totes.star.folder import TOTESYS
from totes.warehouse import dependents, merge
from totes.warehouse.schema import migrate

pytestmark = pytest.mark.few(3)

SALES = "fact_sales_order"


def opened(folder: Path, reader: Dsn) -> Any:
    return open_replica(folder, reader, memory_mb=128)


@pytest.fixture
def replica(warehouse: EmptyWarehouse, tmp_path: Path) -> Iterator[Replica]:
    with opened(tmp_path / "replica", warehouse.reader) as made:
        yield made


def assert_equal(replica: Replica, reader: Dsn) -> None:
    """Every row and column of every table."""
    for name in TABLES:
        assert replica_rows(replica, name) == warehouse_rows(reader, name), name


def warehouse_rows(reader: Dsn, name: str) -> list[tuple[Any, ...]]:
    query = sql.SQL("{} ORDER BY {}").format(TABLES[name].select, sql.Identifier(TABLES[name].key))
    return [tuple(map(_plain, row)) for row in fetch_rows(reader, query)]


def replica_rows(replica: Replica, name: str) -> list[tuple[Any, ...]]:
    table = TABLES[name]
    columns = ", ".join(
        f"epoch_us({quote(column)})" if kind == "TIMESTAMPTZ" else quote(column)
        for column, kind in table.columns.items()
    )
    query = f"SELECT {columns} FROM {quote(name)} ORDER BY {quote(table.key)}"
    with replica.reading() as engine:
        return engine.execute(query).fetchall()


def _plain(value: object) -> object:
    """A value of the warehouse as DuckDB returns it here."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=value.tzinfo)) // timedelta(microseconds=1)
    return json.dumps(value) if isinstance(value, dict) else value


# Any sequence of events


@dataclass
class RandomBatches:
    """Batches at random, and what else happens to a warehouse and to its replica."""

    chance: Random
    lake: ProcessedLake
    warehouse: EmptyWarehouse
    rejected: list[tuple[int, int]] = field(default_factory=list)
    """Batch and order of the versions in quarantine."""

    def batch(self) -> None:
        """New, changed, deleted and rejected rows; some refer to a currency that is missing."""
        chance = self.chance
        orders = chance.sample(range(1, 12), k=chance.randint(1, 6))
        rejected = chance.sample(orders, k=chance.randint(0, 1))
        deleted = [key for key in orders if key not in rejected and chance.random() < 0.2]
        sales = [
            sale(key, units_sold=chance.randint(1, 9), currency_id=chance.choice((1, 1, 2)))
            for key in orders
            if key not in rejected and key not in deleted
        ]
        upserts: dict[str, list[Row]] = {SALES: sales}
        if chance.random() < 0.3:
            upserts["fact_payment"] = [payment(chance.randint(1, 5), paid=chance.random() < 0.5)]
        if chance.random() < 0.3:
            upserts["fact_purchase_order"] = [purchase(chance.randint(1, 5), item_code='a "b",\n')]
        if chance.random() < 0.3:
            upserts["dim_staff"] = [staff(chance.randint(1, 3), location=chance.choice(("", None)))]
        if chance.random() < 0.2:
            upserts["dim_currency"] = [currency(2, "EUR", "Euro")]
        self.lake.publish(upserts, {SALES: deleted}, [rejected_row(SALES, key) for key in rejected])
        self.rejected += [(self.lake.batches, key) for key in rejected]
        self._load()

    def release(self) -> None:
        """Versions out of quarantine, between or after those that are known."""
        if not self.rejected:
            return
        number, key = self.rejected.pop(self.chance.randrange(len(self.rejected)))
        self.lake.publish({SALES: [sale(key, units_sold=99, valid_from=moment(number))]})
        self._load()

    def rebuild(self) -> None:
        self._load()
        rebuild(self.lake.store, self.warehouse.dsn, generation=self.lake.generation)

    def by_hand(self) -> None:
        """What an administrator does to the warehouse, past the platform."""
        execute_each(self.warehouse.admin, self.chance.choice(BY_HAND))

    def _load(self) -> None:
        list(load(self.lake.store, self.warehouse.dsn))


BY_HAND: tuple[tuple[LiteralString, ...], ...] = (
    ("UPDATE fact_sales_order SET units_sold = units_sold + 1 WHERE sales_order_id % 2 = 0",),
    ("DELETE FROM fact_payment WHERE paid",),
    ("UPDATE dim_design SET design_id = design_id + 100 WHERE design_id > 1",),
    ("TRUNCATE fact_purchase_order",),
    ("VACUUM FULL fact_sales_order",),
    (
        "SET session_replication_role = replica",
        "UPDATE dim_location SET city = city || 'x'",
    ),
    (
        "ALTER TABLE dim_staff DISABLE TRIGGER USER",
        "UPDATE dim_staff SET last_name = last_name || 'x'",
        "ALTER TABLE dim_staff ENABLE ALWAYS TRIGGER totes_insert",
        "ALTER TABLE dim_staff ENABLE ALWAYS TRIGGER totes_update",
        "ALTER TABLE dim_staff ENABLE ALWAYS TRIGGER totes_delete",
    ),
    (
        "ALTER TABLE dim_counterparty DISABLE TRIGGER totes_update",
        "UPDATE dim_counterparty SET counterparty_legal_name = counterparty_legal_name || 'x'",
    ),
    ("DELETE FROM totes.quarantine WHERE quarantine_id % 3 = 0",),
)
"""Each as its statements."""


def execute_each(admin: Dsn, statements: tuple[LiteralString, ...]) -> None:
    with psycopg.connect(admin.reveal(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


ROUNDS, STEPS = drawn(1, 20), drawn(8, 60)


def test_the_replica_is_the_warehouse_after_any_events(
    warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    chance = seeded_random()
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with psycopg.connect(warehouse.dsn.reveal()) as connection:
            dependents.delete_all_rows(connection, TOTESYS)
        batches = RandomBatches(chance, ProcessedLake(folder), warehouse)
        batches.lake.publish({**DIMENSIONS, "dim_design": [design(1), design(2)]})
        events = [batches.batch] * 6 + [batches.release] * 2 + [batches.rebuild, batches.by_hand]
        left = STEPS
        while left:
            with opened(folder / "replica", warehouse.reader) as replica:
                for _ in range(min(left, chance.randint(1, 10))):
                    for _ in range(chance.choice((1, 1, 3))):
                        event = chance.choice(events)
                        print(event.__name__)  # noqa: T201  shown where the test fails
                        event()
                    replica.refresh()
                    assert_equal(replica, warehouse.reader)
                    left -= 1


@pytest.mark.few(2)
@pytest.mark.parametrize("statements", BY_HAND, ids=[each[-1] for each in BY_HAND])
def test_the_replica_is_the_warehouse_after_a_change_by_hand(
    replica: Replica,
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    statements: tuple[LiteralString, ...],
) -> None:
    sales = {SALES: [sale(1), sale(2)], "dim_design": [design(1), design(2)]}
    lake.publish({**ALL, **sales}, rejected=[rejected_row(SALES, key) for key in (3, 4, 5)])
    list(load(lake.store, warehouse.dsn))
    replica.refresh()
    execute_each(warehouse.admin, statements)
    replica.refresh()
    assert_equal(replica, warehouse.reader)


# What a refresh costs


@pytest.mark.parametrize("bulk_rows", [1, 1000])
def test_a_refresh_reads_only_the_rows_that_changed(
    replica: Replica,
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    bulk_rows: int,
) -> None:
    monkeypatch.setattr(merge, "BULK_ROWS", bulk_rows)
    lake.publish({**DIMENSIONS, SALES: [sale(key) for key in range(1, 101)]})
    list(load(lake.store, warehouse.dsn))
    assert replica.refresh() > 100
    assert replica.refresh() == 0
    lake.publish({SALES: [sale(1, units_sold=1)], "dim_staff": [staff(2, first_name="Ann")]})
    list(load(lake.store, warehouse.dsn))
    changed = {"key of the closed version", "of the new version", "of the member of staff"}
    assert replica.refresh() == len(changed)
    assert_equal(replica, warehouse.reader)


def test_after_more_changes_than_are_kept_it_is_read_again(
    replica: Replica,
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("totes.stages.load.KEPT_CHANGES", 1)
    lake.publish({**DIMENSIONS, SALES: [sale(1), sale(2)]})
    list(load(lake.store, warehouse.dsn))
    replica.refresh()
    lake.publish({SALES: [sale(1, units_sold=1), sale(2, units_sold=1)]})
    list(load(lake.store, warehouse.dsn))
    assert fetch_rows(warehouse.dsn, "SELECT count(*) FROM totes.changes") == [(1,)]
    replica.refresh()
    assert_equal(replica, warehouse.reader)


# Crashes, rivals, other servers


class Stopped(Exception):
    """What ends a refresh in these tests."""


class StopAt(NoProgress):
    """Ends a refresh when it begins with a table."""

    def __init__(self, table: str) -> None:
        self.table = table

    def start(self, what: str, *_: int | None, **__: int | None) -> None:
        if what.endswith(self.table):
            raise Stopped


@pytest.mark.few(1)
@pytest.mark.parametrize("table", ["dim_date", "fact_sales_order", "quarantine"])
def test_a_refresh_that_is_interrupted_leaves_the_state_before(
    replica: Replica, lake: ProcessedLake, warehouse: EmptyWarehouse, table: str
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    replica.refresh()
    before = {name: replica_rows(replica, name) for name in TABLES}
    lake.publish({SALES: [sale(1, units_sold=1)]})
    list(load(lake.store, warehouse.dsn))
    rebuild(lake.store, warehouse.dsn, generation=1)
    with pytest.raises(Stopped):
        replica.refresh(StopAt(table))
    assert {name: replica_rows(replica, name) for name in TABLES} == before
    replica.refresh()
    assert_equal(replica, warehouse.reader)


KILLED = """
import os, sys
from pathlib import Path
from totes.config.dsn import Dsn
from totes.dashboard.replica import open_replica
from totes.progress import NoProgress

class Kill(NoProgress):
    def start(self, what, *_):
        if what.endswith(sys.argv[3]):
            os.kill(os.getpid(), 9)

with open_replica(Path(sys.argv[1]), Dsn(sys.argv[2]), memory_mb=128) as replica:
    replica.refresh(Kill())
"""


@pytest.mark.few(1)
@pytest.mark.parametrize("table", ["dim_date", "fact_payment"])
def test_a_process_that_is_killed_in_a_refresh_harms_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path, table: str
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    folder = tmp_path / "replica"
    script = [sys.executable, "-c", KILLED, str(folder), warehouse.reader.reveal(), table]
    assert subprocess.run(script, check=False).returncode == -signal.SIGKILL
    with opened(folder, warehouse.reader) as replica:
        replica.refresh()
        assert_equal(replica, warehouse.reader)


def test_two_dashboards_at_once_have_a_replica_each(
    replica: Replica, lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    with opened(tmp_path / "replica", warehouse.reader) as other:
        for one in (other, replica):
            one.refresh()
            assert_equal(one, warehouse.reader)


@pytest.mark.few(1)
@pytest.mark.parametrize("damage", [b"", b"not a database", b"\0" * 50_000])
def test_a_damaged_file_is_made_again(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path, damage: bytes
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    folder = tmp_path / "replica"
    with opened(folder, warehouse.reader) as replica:
        replica.refresh()
    (folder / "replica.duckdb").write_bytes(damage)
    with opened(folder, warehouse.reader) as replica:
        replica.refresh()
        assert_equal(replica, warehouse.reader)


def test_a_file_with_a_damaged_block_is_made_again(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    lake.publish({**ALL, SALES: [sale(key) for key in range(1, 3000)]})
    list(load(lake.store, warehouse.dsn))
    folder = tmp_path / "replica"
    with opened(folder, warehouse.reader) as replica:
        replica.refresh()
    file = folder / "replica.duckdb"
    content = bytearray(file.read_bytes())
    content[12288 + 4096 : -4096] = bytes(len(content) - 12288 - 8192)  # behind its three headers
    file.write_bytes(content)
    execute(warehouse.admin, "UPDATE fact_sales_order SET units_sold = 1 WHERE sales_order_id = 1")
    with opened(folder, warehouse.reader) as replica:
        replica.refresh()
        assert_equal(replica, warehouse.reader)


def test_another_database_of_the_same_batch_is_read_again(
    lake: ProcessedLake,
    warehouse: EmptyWarehouse,
    copied: Callable[[Dsn], Dsn],
    tmp_path: Path,
) -> None:
    lake.publish(ALL)
    list(load(lake.store, warehouse.dsn))
    with opened(tmp_path / "replica", warehouse.reader) as replica:
        replica.refresh()
    other = copied(warehouse.dsn)
    execute(other, "UPDATE dim_staff SET first_name = 'Another'")
    reader = warehouse.reader.replace(dbname=str(other.parts["dbname"]))
    with opened(tmp_path / "replica", reader) as replica:
        replica.refresh()
        assert_equal(replica, reader)


def test_a_standby_that_takes_over_without_the_newest_batch_is_read_again(
    cluster: ClusterFactory, lake: ProcessedLake, tmp_path: Path
) -> None:
    primary = cluster(wal_level="replica", max_wal_senders="4")
    made = prepare_warehouse(primary.dsn, "warehouse")
    migrate(made.loader)
    lake.publish(ALL)
    list(load(lake.store, made.loader))
    standby = cluster(standby_of=primary)
    standby.stop()
    lake.publish({SALES: [sale(1, units_sold=1)]})
    list(load(lake.store, made.loader))
    with opened(tmp_path / "replica", made.reader) as replica:
        replica.refresh()
    primary.stop()
    standby.start()
    execute(standby.dsn, "SELECT pg_promote()")
    there = prepare_warehouse(standby.dsn, "warehouse")
    (tmp_path / "other").mkdir()
    other = ProcessedLake(tmp_path / "other")
    other.publish(ALL)
    other.publish({SALES: [sale(1, units_sold=2)]})
    list(load(other.store, there.loader))
    with opened(tmp_path / "replica", there.reader) as replica:
        replica.refresh()
        assert_equal(replica, there.reader)


def test_readers_see_one_state_while_it_is_refreshed(
    replica: Replica, lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish({**DIMENSIONS, SALES: [sale(1), sale(2)]})
    list(load(lake.store, warehouse.dsn))
    replica.refresh()
    query = f"SELECT sum(units_sold) FROM {SALES} WHERE valid_to IS NULL"
    with replica.reading() as engine:
        before = engine.execute(query).fetchall()
        lake.publish({SALES: [sale(1, units_sold=1), sale(2, units_sold=2)]})
        list(load(lake.store, warehouse.dsn))
        replica.refresh()
        assert engine.execute(query).fetchall() == before
    with replica.reading() as engine:
        assert engine.execute(query).fetchall() == [(3,)]
