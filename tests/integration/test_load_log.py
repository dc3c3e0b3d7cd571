"""Batches of the log: the warehouse has every version of a fact, whatever kinds of batches mix."""

import shutil
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import psycopg
import pytest
from database import fetch_rows
from depth import drawn, seeded_random
from lake_writer import ROWS, LakeWriter, row
from processed_lake import read_star_tables
from random_history import Order, RandomHistory, Version

from conftest import EmptyWarehouse
from totes.config.settings import Dsn
from totes.lake.folder import FolderStore
from totes.stages.load import load
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.models import Models, load_models
from totes.warehouse import dependents

ROUNDS, STEPS = drawn(1, 20), 9


@pytest.fixture(scope="module")
def corrected_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Models that accept dates with slashes."""
    with as_file(files("totes.star") / "totesys" / "models") as packaged:
        folder = shutil.copytree(packaged, tmp_path_factory.mktemp("corrected") / "models")
    model = folder / "fact_sales_order.sql"
    date = "    agreed_delivery_date,"
    corrected = "    replace(agreed_delivery_date, '/', '-') as agreed_delivery_date,"
    assert date in model.read_text()
    model.write_text(model.read_text().replace(date, corrected))
    return load_models(folder, TOTESYS.tables)


def read_versions(warehouse: Dsn) -> list[Version]:
    """Return the orders' versions; whether an order is valid, its delivery date does not show."""
    rows = fetch_rows(
        warehouse,
        "SELECT sales_order_id, units_sold, design_id, valid_from, valid_to FROM fact_sales_order"
        " ORDER BY sales_order_id, valid_from",
    )
    return [(key, Order(units, design, is_valid=True), *when) for key, units, design, *when in rows]


def read_designs(warehouse: Dsn) -> dict[int, tuple[str, bool]]:
    rows = fetch_rows(
        warehouse,
        "SELECT design_id, design_name, r.key IS NOT NULL FROM dim_design"
        " LEFT JOIN totes.deleted_dimension_rows AS r"
        " ON table_name = 'dim_design' AND r.key = design_id::text",
    )
    return {key: (name, is_deleted) for key, name, is_deleted in rows}


def test_the_star_has_every_version_however_batches_mix_and_after_releases(
    warehouse: EmptyWarehouse,
    copied: Callable[[Dsn], Dsn],
    corrected_models: Models,
    tmp_path: Path,
) -> None:
    """After each load the star equals the expected one; finally a replay gives the same."""
    chance, replayed = seeded_random(), copied(warehouse.dsn)
    for number in range(ROUNDS):
        for dsn in (warehouse.dsn, replayed):
            with psycopg.connect(dsn.reveal()) as connection:
                dependents.delete_all_rows(connection, TOTESYS)
        folder = tmp_path / f"{number}"
        history = RandomHistory(chance, LakeWriter(folder / "ingestion"))
        history.writer.add({t: [row(t)] for t in ROWS if t not in {"sales_order", "design"}})
        models, corrected, pending = TOTESYS.models, set[int](), {1}
        corrected_at = chance.randint(2, STEPS)

        def transform_and_load(models: Models, name: str, dsn: Dsn, folder: Path = folder) -> None:
            processed = FolderStore(folder / name)
            list(write_generation(FolderStore(folder / "ingestion"), processed, 1, models))
            list(load(processed, dsn))

        for step in range(STEPS + 1):
            if step == corrected_at:
                models = corrected_models
            batches = range(1, len(history.writer.batches) + 1)
            if step == STEPS or chance.random() < 0.2:
                released = set(batches) if step == STEPS else set(chance.choices(batches, k=2))
                history.writer.add(released=tuple(sorted(released)))
                pending |= released
            else:
                pending.add(len(batches) + 1)
                history.publish()
            if step == STEPS or chance.random() < 0.7:
                transform_and_load(models, "processed", warehouse.dsn)
                corrected |= pending if models is corrected_models else set()
                pending.clear()
                assert read_versions(warehouse.dsn) == history.versions(corrected)
                assert read_designs(warehouse.dsn) == history.designs()
        transform_and_load(models, "replayed", replayed)
        assert read_star_tables(warehouse.dsn) == read_star_tables(replayed)
