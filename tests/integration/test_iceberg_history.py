"""The history in Iceberg tables equals the warehouse's, whatever arrives in whatever order."""

from pathlib import Path

import psycopg
import pytest
from depth import drawn, seeded_random
from hypothesis import HealthCheck, given, settings
from iceberg_tables import new_lakehouse, read_tables
from loading import load_all
from processed_lake import DIMENSIONS, ProcessedLake, read_star_tables
from random_history import transform_random_batches
from random_releases import RELEASES, STEPS, Event, Orders

from conftest import EmptyWarehouse
from totes.lakehouse import files, merge
from totes.lakehouse.publish import Publisher
from totes.stages.load import load
from totes.star.folder import TOTESYS
from totes.star.models import Models
from totes.warehouse import dependents

ROUNDS, HISTORY_STEPS = drawn(1, 20), drawn(4, 6)


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables with few rows have several files, partitions and slices."""
    monkeypatch.setattr(files, "MAX_FILE_ROWS", 3)
    monkeypatch.setattr(merge, "BLOCK_ROWS", 2048)


def test_the_history_equals_the_warehouse_for_random_transactions_of_log_and_scans(
    warehouse: EmptyWarehouse, corrected_models: Models, tmp_path: Path
) -> None:
    """After each publication; finally, so does a publication of all batches at once."""
    chance = seeded_random()
    for number in range(ROUNDS):
        with psycopg.connect(warehouse.dsn.reveal()) as connection:
            dependents.delete_all_rows(connection, TOTESYS)
        folder = tmp_path / f"{number}"
        step_by_step, at_once = new_lakehouse(folder), new_lakehouse(folder, "at-once")
        for made in transform_random_batches(chance, folder, corrected_models, HISTORY_STEPS):
            list(load(made.processed, warehouse.dsn))
            list(Publisher(step_by_step, TOTESYS).publish(made.processed))
            assert read_tables(step_by_step) == read_star_tables(warehouse.dsn)
        list(Publisher(at_once, TOTESYS).publish(made.processed))
        assert read_tables(at_once) == read_star_tables(warehouse.dsn)


@given(steps=STEPS, releases=RELEASES)
@settings(max_examples=drawn(1, 40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_history_equals_the_warehouse_after_rejections_and_releases_in_any_order(
    warehouse: EmptyWarehouse,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Event | None, ...]],
    releases: list[tuple[int, bool]],
) -> None:
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        dependents.delete_all_rows(connection, TOTESYS)
    folder = tmp_path_factory.mktemp("lake")
    lake = ProcessedLake(folder)
    orders = Orders(lake)
    lake.publish(DIMENSIONS)
    for batch, events in enumerate(steps, start=2):
        orders.publish(batch, events)
    step_by_step = Publisher(new_lakehouse(folder), TOTESYS)
    for release in [None, *releases]:
        if release:
            orders.release(release[0] + 2, with_dimension=release[1])
        load_all(lake, warehouse)
        list(step_by_step.publish(lake.store))
        assert read_tables(step_by_step.lakehouse) == read_star_tables(warehouse.dsn)
    at_once = Publisher(new_lakehouse(folder, "at-once"), TOTESYS)
    list(at_once.publish(lake.store))
    assert read_tables(at_once.lakehouse) == read_star_tables(warehouse.dsn)
