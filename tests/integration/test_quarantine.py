"""Rejected rows are reported, and are inserted into the history once models accept them."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg
import pytest
from depth import drawn, seeded_random
from installation import Installation
from lake_writer import ROWS, LakeWriter, row
from processed_lake import read_star_tables

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.lake.folder import FolderStore
from totes.stages.load import load
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.models import Models
from totes.warehouse import dependents

pytestmark = pytest.mark.few(1)

BAD_DATE, BAD_CODE = "2022/11/10", "gbp"
"""Values that the packaged models reject and the corrected models accept."""


@pytest.fixture
def correct_models(corrected_models: Models, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that replaces the packaged models by the corrected ones."""

    def replace_models() -> None:
        monkeypatch.setitem(vars(TOTESYS), "models", corrected_models)

    return replace_models


# In the output of commands


def test_rejected_rows_are_counted_logged_alerted_and_listed(
    installation: Installation, tmp_path: Path
) -> None:
    alerts = tmp_path / "alerts"
    script = tmp_path / "write_alert.py"
    script.write_text(f"import sys; open({str(alerts)!r}, 'a').write(sys.stdin.read() + '\\n')")
    installation.add_orders(10)
    installation.change(
        f"UPDATE sales_order SET agreed_delivery_date = '{BAD_DATE}'"
        " WHERE sales_order_id IN (3, 4);"
        f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1"
    )
    run = installation.with_settings(alert_command=shlex.join([sys.executable, str(script)])).totes(
        "run", "--once"
    )
    assert run.exit_code == 0
    assert (
        "WARNING Batch 1: rows quarantined: 1 of dim_currency, 2 of fact_sales_order." in run.stderr
    )
    messages = [json.loads(line) for line in alerts.read_text().splitlines()]
    assert [(m["stage"], m["batch"]) for m in messages] == [("transform", 1), ("load", 1)]
    assert messages[0]["quarantined"] == {"dim_currency": 1, "fact_sales_order": 2}
    [(waiting,)] = installation.query(
        "SELECT count(*) FROM totes.quarantine"
        " WHERE star_table = 'fact_sales_order' AND waits_for = 'dim_currency'"
    )
    assert messages[1]["quarantined"]["fact_sales_order"] == waiting > 0
    status = json.loads(installation.totes("status", "--json").stdout)
    counted = {(one["table"], one["column"]): one["rows"] for one in status["quarantine"]}
    assert counted["fact_sales_order", "agreed_delivery_date"] == 2
    assert counted["fact_sales_order", "currency_id"] == waiting
    assert counted["dim_currency", "currency_name"] == 1
    assert "2  fact_sales_order: is not a date" in installation.totes("status").stdout
    result = installation.totes("verify")
    assert result.exit_code == 0
    assert "dim_currency: 1 in quarantine, not compared: 1\n" in result.stdout
    results = {
        one["name"]: one
        for one in json.loads(installation.totes("verify", "--json").stdout)["tables"]
    }
    assert {"3", "4"} <= set(results["fact_sales_order"]["quarantined"])


def test_single_stages_alert_rejected_rows(installation: Installation) -> None:
    installation.add_orders(10)
    installation.change(f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1")
    for arguments in (["warehouse", "migrate"], ["ingest"]):
        assert installation.totes(*arguments).exit_code == 0
    assert "rows quarantined: 1 of dim_currency." in installation.totes("transform").stderr
    assert re.search(
        r"rows quarantined: .*\d of fact_sales_order\.", installation.totes("load").stderr
    )


def test_a_fact_that_waits_for_a_rejected_dimension_row_is_loaded_with_it(
    installation: Installation, correct_models: Callable[[], None]
) -> None:
    installation.add_orders(10)
    installation.change(f"UPDATE currency SET currency_code = '{BAD_CODE}' WHERE currency_id = 1")
    installation.run()
    assert installation.query("SELECT count(*) FROM fact_sales_order WHERE currency_id = 1") == [
        (0,)
    ]
    correct_models()
    released = installation.totes("quarantine", "release")
    assert "all were accepted" in released.stdout
    assert installation.query(
        "SELECT DISTINCT valid_from = (SELECT captured_at FROM totes.batches WHERE batch = 1)"
        " FROM fact_sales_order"
    ) == [(True,)]
    assert "Quarantine is empty" in installation.totes("quarantine", "list").stdout
    assert "Quarantine is empty" in installation.totes("status").stdout


def test_a_released_version_is_inserted_between_earlier_and_later_ones(
    installation: Installation, correct_models: Callable[[], None]
) -> None:
    installation.add_orders(5).run()
    for units, day in ((11, BAD_DATE), (12, "2022-11-12"), (13, BAD_DATE)):
        installation.change(
            f"UPDATE sales_order SET units_sold = {units}, agreed_delivery_date = '{day}'"
            " WHERE sales_order_id = 3"
        )
        installation.run()
    history = (
        "SELECT units_sold, f.batch, t.batch FROM fact_sales_order"
        " JOIN totes.batches f ON f.captured_at = valid_from"
        " LEFT JOIN totes.batches t ON t.captured_at = valid_to"
        " WHERE sales_order_id = 3 ORDER BY valid_from"
    )
    assert [row[1:] for row in installation.query(history)] == [(1, 3), (3, None)]
    correct_models()
    assert "all were accepted" in installation.totes("quarantine", "release").stdout
    assert installation.query(history)[1:] == [(11, 2, 3), (12, 3, 4), (13, 4, None)]


# Property: the history does not depend on the order of rejections and releases


ORDERS = (1, 2, 3)
VARYING = 2
"""The currency whose code is sometimes rejected."""


@dataclass(frozen=True)
class Version:
    """A version of an order or, without units, of the varying currency, in one batch."""

    is_valid: bool
    units: int = 0
    currency: int = 1


@dataclass
class RandomOrders:
    """Random versions of a few orders and of one currency, valid and invalid ones."""

    chance: Random
    writer: LakeWriter
    orders: dict[int, dict[int, Version | None]] = field(
        default_factory=lambda: {order: {} for order in ORDERS}
    )
    codes: dict[int, Version] = field(default_factory=dict)
    corrected: set[int] = field(default_factory=set)
    """Batches that the corrected models transformed, or tried again."""

    pending: set[int] = field(default_factory=set)
    """Batches that the next transform will transform or try again."""

    def add_other_tables(self) -> None:
        others = [table for table in ROWS if table != "sales_order"]
        self.writer.add({table: [row(table)] for table in others})

    def add_batch(self) -> None:
        """Publish a batch with random changes."""
        number = len(self.writer.batches) + 1
        sales, deleted, currencies = [], [], []
        for order in ORDERS:
            event = self.chance.random()
            if event < 0.15 and any(self.orders[order].values()):
                self.orders[order][number] = None
                deleted.append(order)
            elif event < 0.7:
                version = Version(
                    self.chance.random() < 0.5,
                    self.chance.randint(1, 2),
                    self.chance.choice((1, VARYING)),
                )
                self.orders[order][number] = version
                day = "2022-11-10" if version.is_valid else BAD_DATE
                sales.append(
                    row(
                        "sales_order",
                        sales_order_id=order,
                        units_sold=version.units,
                        currency_id=version.currency,
                        agreed_delivery_date=day,
                    )
                )
        if self.chance.random() < 0.3:
            self.codes[number] = Version(self.chance.random() < 0.4)
            code = "GBP" if self.codes[number].is_valid else BAD_CODE
            currencies.append(row("currency", currency_id=VARYING, currency_code=code))
        self.pending.add(number)
        self.writer.add(
            {"sales_order": sales, "currency": currencies}, deletes={"sales_order": deleted}
        )

    def release(self, batches: set[int]) -> None:
        self.pending |= batches
        self.writer.add(released=tuple(sorted(batches)))

    def mark_transformed(self, *, with_corrected: bool) -> None:
        if with_corrected:
            self.corrected |= self.pending
        self.pending.clear()

    def is_accepted(self, batch: int, version: Version | None) -> bool:
        """Return whether a version is in the star; a deletion always is."""
        if version is None:
            return True
        has_currency = version.currency != VARYING or self.code is not None
        return has_currency and (version.is_valid or batch in self.corrected)

    @property
    def code(self) -> str | None:
        """The code of the varying currency in the star."""
        versions = [v for batch, v in self.codes.items() if v.is_valid or batch in self.corrected]
        return None if not versions else "GBP" if versions[-1].is_valid else BAD_CODE

    def units_at(self, order: int, batch: int) -> int | None:
        """Return the expected units of an order as of a batch; None if it is not in the star."""
        versions = [
            version
            for when, version in self.orders[order].items()
            if when <= batch and self.is_accepted(when, version)
        ]
        return versions[-1].units if versions and versions[-1] else None

    def quarantined(self) -> set[int]:
        """Return the orders whose last version is rejected."""
        orders = set()
        for order, versions in self.orders.items():
            outcomes = [self.is_accepted(*version) for version in versions.items()]
            if outcomes and not outcomes[-1]:
                orders.add(order)
        return orders


def assert_expected(orders: RandomOrders, warehouse: Dsn) -> None:
    """Assert that the star has the expected rows as of every batch."""
    quarantined = (
        "SELECT DISTINCT key::int FROM totes.quarantine WHERE released_at IS NULL"
        " AND superseded_at IS NULL AND star_table = 'fact_sales_order'"
    )
    with psycopg.connect(warehouse.reveal()) as connection:
        versions = connection.execute(
            "SELECT sales_order_id, units_sold, valid_from, valid_to FROM fact_sales_order"
        ).fetchall()
        query = "SELECT currency_code FROM dim_currency WHERE currency_id = 2"
        codes = [code for (code,) in connection.execute(query)]
        keys = {key for (key,) in connection.execute(quarantined)}
    for number, batch in enumerate(orders.writer.batches, start=1):
        for order in ORDERS:
            actual = [
                units
                for key, units, since, until in versions
                if key == order
                and since <= batch.captured_at
                and (until is None or batch.captured_at < until)
            ]
            expected = orders.units_at(order, number)
            assert actual == ([] if expected is None else [expected]), (order, number)
    assert codes == ([orders.code] if orders.code else [])
    assert keys == orders.quarantined()


ROUNDS, STEPS = drawn(1, 10), 9


@pytest.fixture
def two_warehouses(warehouse: EmptyWarehouse, copied: Callable[[Dsn], Dsn]) -> tuple[Dsn, Dsn]:
    return warehouse.dsn, copied(warehouse.dsn)


def test_any_order_of_rejections_and_releases_ends_like_a_rebuild(
    two_warehouses: tuple[Dsn, Dsn], corrected_models: Models, tmp_path: Path
) -> None:
    """After each load the star has the accepted versions; finally it equals a rebuild."""
    chance = seeded_random()
    for number in range(ROUNDS):
        for warehouse in two_warehouses:
            with psycopg.connect(warehouse.reveal()) as connection:
                dependents.delete_all_rows(connection, TOTESYS)
        run_random_batches(chance, tmp_path / f"{number}", *two_warehouses, corrected_models)


def run_random_batches(
    chance: Random, folder: Path, live: Dsn, rebuilt: Dsn, corrected: Models
) -> None:
    orders = RandomOrders(chance, LakeWriter(folder / "ingestion"))

    def transform_and_load(models: Models, generation: str, warehouse: Dsn) -> None:
        processed = FolderStore(folder / generation)
        list(write_generation(orders.writer.store, processed, 1, models))
        list(load(processed, warehouse))

    def update(models: Models) -> None:
        transform_and_load(models, "processed", live)
        orders.mark_transformed(with_corrected=models is corrected)
        assert_expected(orders, live)

    orders.add_other_tables()
    models, corrected_at = TOTESYS.models, chance.randint(2, 6)
    for step in range(STEPS):
        if step == corrected_at:
            models = corrected
        batches = range(1, len(orders.writer.batches) + 1)
        if chance.random() < 0.25:
            orders.release(set(chance.choices(batches, k=2)))
        else:
            orders.add_batch()
        if chance.random() < 0.7:
            update(models)
    orders.release(set(range(1, len(orders.writer.batches) + 1)))
    update(corrected)
    transform_and_load(corrected, "rebuilt", rebuilt)
    assert read_star_tables(live) == read_star_tables(rebuilt)
