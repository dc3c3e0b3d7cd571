"""Iceberg tables are the same in every catalogue and place, and errors are one plain line."""

from pathlib import Path

import boto3
import duckdb
import psycopg
import pytest
from iceberg_tables import load_table, new_lakehouse, publish, read_tables
from processed_lake import ALL, ProcessedLake, sale
from s3_service import S3Service
from small_star import FACT, SMALL

from conftest import EmptyWarehouse
from totes.config.settings import Dsn
from totes.errors import IcebergBusy, IcebergError, UsageError
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.maintenance import compact


def assert_works(lakehouse: Lakehouse, lake: ProcessedLake, folder: Path) -> None:
    """Publish twice and compact; the tables equal those in SQLite and a folder."""
    lake.publish({**ALL, FACT: [sale(1), sale(2, design_id=9)]})
    assert publish(lakehouse, lake) == [1]
    lake.publish({FACT: [sale(3)]})
    assert publish(lakehouse, lake) == [2]
    list(compact(lakehouse, SMALL))
    assert publish(lakehouse, lake) == []
    usual = new_lakehouse(folder, "usual")
    publish(usual, lake)
    assert read_tables(lakehouse, SMALL) == read_tables(usual, SMALL)


def test_a_catalogue_in_postgresql(
    lake: ProcessedLake, warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    assert_works(Lakehouse(warehouse.dsn, str(tmp_path / "files")), lake, tmp_path)
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        names = connection.execute("SELECT table_name FROM iceberg_tables ORDER BY 1").fetchall()
    assert names == [(name,) for name in SMALL.tables]


@pytest.mark.few(1)
@pytest.mark.parametrize("catalogue", ["sqlite", "glue:totes_star"])
def test_files_in_s3_and_a_catalogue_in_glue(
    lake: ProcessedLake,
    service: S3Service,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    catalogue: str,
) -> None:
    service.environment(monkeypatch)
    if catalogue == "sqlite":
        catalogue = f"sqlite:///{tmp_path}/catalogue.db"
    lakehouse = Lakehouse(catalogue, f"s3://{service.new_bucket()}/iceberg")
    assert_works(lakehouse, lake, tmp_path)
    assert load_table(lakehouse).location() == f"{lakehouse.url}/{FACT}"


def test_a_publisher_in_glue_needs_no_right_to_create_a_database_that_exists(
    lake: ProcessedLake, service: S3Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.environment(monkeypatch)
    boto3.client("glue", "us-east-1").create_database(DatabaseInput={"Name": "totes_dev_star"})
    monkeypatch.setattr("pyiceberg.catalog.glue.GlueCatalog.create_namespace", None)
    lake.publish(ALL)
    lakehouse = Lakehouse("glue:totes_dev_star", f"s3://{service.new_bucket()}")
    assert publish(lakehouse, lake) == [1]


def test_a_server_that_does_not_answer_is_tried_again_and_shows_no_password(
    lake: ProcessedLake, tmp_path: Path
) -> None:
    lake.publish(ALL)
    dsn = Dsn(f"postgresql://u:sesame@/db?host={tmp_path}")
    with pytest.raises(IcebergBusy, match="can't be reached") as raised:
        publish(Lakehouse(dsn, str(tmp_path / "files")), lake)
    assert "sesame" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_lost_file_of_a_table_is_an_error(lake: ProcessedLake, tmp_path: Path) -> None:
    lakehouse = new_lakehouse(tmp_path)
    lake.publish(ALL)
    publish(lakehouse, lake)
    for file in (tmp_path / "iceberg" / FACT / "data").iterdir():
        file.unlink()
    lake.publish({FACT: [sale(units_sold=1)]})
    with pytest.raises(IcebergError, match="can't be read or written"):
        publish(lakehouse, lake)


def test_an_error_of_duckdb_is_one_plain_line(tmp_path: Path) -> None:
    """Arrow's errors, such as that of a lost file, may come through DuckDB."""
    with (
        pytest.raises(IcebergError, match=r"can't be read or written: lost\. Check"),
        new_lakehouse(tmp_path).open(),
    ):
        raise duckdb.InvalidInputException("lost\nstack")


@pytest.mark.parametrize("url", ["gs://bucket", "s3:///prefix", "/a#b", "file://host/folder"])
def test_a_url_that_is_neither_a_folder_nor_s3_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="TOTES_ICEBERG_URL must be a folder's path"):
        _ = Lakehouse("glue", url).location
