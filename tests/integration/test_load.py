"""The load stage: each batch once and in order, also after failures and beside other runs."""

import threading
from pathlib import Path

import psycopg
import pytest
from database import execute, fetch_rows
from loading import load_all
from processed_lake import ALL, ProcessedLake, moment, read_star_tables, read_versions, sale
from scratch_source import once
from stage_fixtures import AtFailpoint

from conftest import EmptyWarehouse
from totes.errors import LakeError, WarehouseError
from totes.lake.manifest import ProcessedManifest, generation_path
from totes.stages.load import load, rebuild, record_checked
from totes.star.folder import TOTESYS

pytestmark = pytest.mark.few(6)


def test_every_value_is_loaded_unchanged(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    assert load_all(lake, warehouse) == [1]
    found = read_star_tables(warehouse.dsn)
    for table, rows in ALL.items():
        star = TOTESYS.tables[table]
        times = (moment(1), None) if star.is_fact else ()
        expected = [(*(row.get(column.name) for column in star.columns), *times) for row in rows]
        assert found[table] == sorted(expected, key=repr), table


def test_a_batch_is_loaded_once(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(units_sold=1)]})
    assert load_all(lake, warehouse) == [1, 2]
    before = read_star_tables(warehouse.dsn)
    assert load_all(lake, warehouse) == []
    assert read_star_tables(warehouse.dsn) == before
    assert fetch_rows(
        warehouse.dsn, "SELECT batch, generation, rows FROM totes.batches ORDER BY 1"
    ) == [
        (1, 1, 12),
        (2, 1, 1),
    ]


def test_an_empty_batch_is_recorded(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish()
    assert load_all(lake, warehouse) == [1]
    assert fetch_rows(warehouse.dsn, "SELECT data_to, checked_at FROM totes.freshness") == [
        (moment(1), moment(1))
    ]


def test_a_load_that_is_killed_before_its_commit_changes_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: AtFailpoint
) -> None:
    lake.publish(ALL)

    def kill() -> None:
        raise KeyboardInterrupt

    at_failpoint("load.before-commit", once(kill))
    with pytest.raises(KeyboardInterrupt):
        load_all(lake, warehouse)
    assert not any(read_star_tables(warehouse.dsn).values())
    assert load_all(lake, warehouse) == [1]


def test_a_batch_that_another_loader_has_loaded_is_skipped(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: AtFailpoint
) -> None:
    lake.publish(ALL)

    def load_meanwhile() -> None:
        assert load_all(lake, warehouse) == [1]

    at_failpoint("load.fetched", once(load_meanwhile))
    assert load_all(lake, warehouse) == []
    assert len(read_versions(warehouse.dsn, "fact_sales_order")) == 1


def test_of_two_concurrent_loaders_one_waits_and_skips(
    lake: ProcessedLake, warehouse: EmptyWarehouse, at_failpoint: AtFailpoint
) -> None:
    lake.publish(ALL)
    loaded_by_second: list[int] = []
    second_loader = threading.Thread(
        target=lambda: loaded_by_second.extend(load_all(lake, warehouse))
    )

    def start_second_loader() -> None:
        second_loader.start()
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not fetch_rows(warehouse.dsn, waiting):
            assert second_loader.is_alive()

    at_failpoint("load.before-commit", once(start_second_loader))
    assert load_all(lake, warehouse) == [1]
    second_loader.join()
    assert loaded_by_second == []
    assert len(read_versions(warehouse.dsn, "fact_sales_order")) == 1


def test_a_load_with_a_gap_in_the_batches_fails(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    lake.publish({"fact_sales_order": [sale(2)]})
    batches = load(lake.store, warehouse.dsn)
    next(batches)
    execute(warehouse.dsn, "DELETE FROM totes.batches")
    with pytest.raises(WarehouseError, match="Batch 2 does not follow batch 0"):
        next(batches)
    assert len(read_versions(warehouse.dsn, "fact_sales_order")) == 1


def test_a_load_from_a_different_lake_fails(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    lake.publish(ALL)
    load_all(lake, warehouse)
    execute(warehouse.dsn, "UPDATE totes.batches SET ingested = 'something else'")
    with pytest.raises(WarehouseError, match="is not batch 1 in"):
        load_all(lake, warehouse)
    with pytest.raises(WarehouseError, match="is not batch 1 in"):
        load_all(ProcessedLake(tmp_path / "empty"), warehouse)


def test_a_damaged_file_stops_the_load_and_the_error_names_it(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    manifest = lake.publish(ALL)
    path = manifest.files[0].path
    file = lake.folder / "processed" / path
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    with pytest.raises(LakeError, match=path):
        load_all(lake, warehouse)
    assert not any(read_star_tables(warehouse.dsn).values())


def test_a_file_that_is_not_parquet_stops_the_load(
    lake: ProcessedLake, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "totes.star.batch_files.fetch_verified", lambda _store, _file, path: path.touch()
    )
    lake.publish(ALL)
    with pytest.raises(LakeError, match=r"dim_date/.* differs from its manifest"):
        load_all(lake, warehouse)
    assert not any(read_star_tables(warehouse.dsn).values())


def test_load_changes_to_a_new_generation(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    lake.publish(deletes={"dim_staff": [2], "fact_sales_order": [1]})
    load_all(lake, warehouse)
    second_generation = ProcessedLake(lake.folder, generation=2)
    second_generation.publish({**ALL, "fact_sales_order": [sale(units_sold=5)]})
    second_generation.publish({"fact_sales_order": [sale(2)]})
    second_generation.publish({"fact_sales_order": [sale(3)]})
    assert load_all(lake, warehouse) == [], "the new generation is not published yet"
    lake.store.create(generation_path(2), b"{}")
    assert load_all(lake, warehouse) == [1, 2, 3]
    assert read_versions(warehouse.dsn, "fact_sales_order", "sales_order_id", "units_sold") == [
        (1, 5, moment(1), None),
        (2, 42972, moment(2), None),
        (3, 42972, moment(3), None),
    ]
    assert fetch_rows(warehouse.dsn, "SELECT * FROM totes.deleted_dimension_rows") == []
    assert fetch_rows(warehouse.dsn, "SELECT DISTINCT generation FROM totes.batches") == [(2,)]


def test_a_rebuild_that_fails_changes_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    manifest = lake.publish(ALL)
    load_all(lake, warehouse)
    before = read_star_tables(warehouse.dsn)
    (lake.folder / "processed" / manifest.files[-1].path).unlink()
    with pytest.raises(LakeError, match="fact_payment"):
        rebuild(lake.store, warehouse.dsn, generation=1)
    assert read_star_tables(warehouse.dsn) == before


def test_checked_at_only_moves_forward(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    lake.publish(ALL)
    load_all(lake, warehouse)
    for batch in (3, 2):
        record_checked(warehouse.dsn, moment(batch))
    assert fetch_rows(warehouse.dsn, "SELECT data_to, checked_at FROM totes.freshness") == [
        (moment(1), moment(3))
    ]


def test_the_reader_role_can_read_everything_and_write_nothing(
    lake: ProcessedLake, warehouse: EmptyWarehouse
) -> None:
    lake.publish(ALL)
    load_all(lake, warehouse)
    names = [*ALL, "current_sales_order", "current_purchase_order", "current_payment"]
    names += ["fact_purchase_orders", "totes.batches", "totes.quarantine", "totes.freshness"]
    names += ["totes.deleted_dimension_rows", "totes.migrations", "totes.checks"]
    for name in names:
        fetch_rows(warehouse.reader, f"SELECT * FROM {name}")
    assert fetch_rows(warehouse.reader, "SELECT count(*) FROM sales_order_as_of(now())") == [(1,)]
    for attempt in (
        "UPDATE dim_staff SET first_name = 'X'",
        "DELETE FROM fact_sales_order",
        "INSERT INTO totes.checks VALUES (now())",
        "TRUNCATE fact_payment CASCADE",
        "CREATE TABLE mine (x int)",
        "CREATE TABLE totes.mine (x int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(warehouse.reader, attempt)


def test_the_loader_is_not_a_superuser(warehouse: EmptyWarehouse) -> None:
    assert fetch_rows(
        warehouse.dsn,
        "SELECT rolsuper, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user",
    ) == [(False, False, False)]


def test_progress_counts_rows(lake: ProcessedLake, warehouse: EmptyWarehouse) -> None:
    manifest: ProcessedManifest = lake.publish(ALL)

    class RecordingProgress:
        started: list[tuple[str, int | None]]
        rows = 0

        def __init__(self) -> None:
            self.started = []

        def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
            self.started.append((what, total))

        def advance(self, rows: int) -> None:
            self.rows += rows

    progress = RecordingProgress()
    assert list(load(lake.store, warehouse.dsn, progress=progress)) == [manifest]
    assert (progress.started, progress.rows) == ([("load batch 1", manifest.rows)], manifest.rows)
