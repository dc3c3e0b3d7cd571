"""Batches of the log: the warehouse has every version of a fact, whatever kinds of batches mix."""

from collections.abc import Callable
from pathlib import Path

import psycopg
from database import fetch_rows
from depth import drawn, seeded_random
from processed_lake import read_star_tables
from random_history import Order, Version, transform_random_batches

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.lake.folder import FolderStore
from totes.stages.load import load
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.models import Models
from totes.warehouse import dependents

ROUNDS, STEPS = drawn(1, 20), 9


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
        for made in transform_random_batches(chance, folder, corrected_models, STEPS):
            list(load(made.processed, warehouse.dsn))
            assert read_versions(warehouse.dsn) == made.history.versions(made.corrected)
            assert read_designs(warehouse.dsn) == made.history.designs()
        again = FolderStore(folder / "replayed")
        list(write_generation(FolderStore(folder / "ingestion"), again, 1, made.models))
        list(load(again, replayed))
        assert read_star_tables(warehouse.dsn) == read_star_tables(replayed)
