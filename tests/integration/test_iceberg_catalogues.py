"""Iceberg tables are the same in every catalogue and place, and errors are one plain line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boto3
import duckdb
import pytest
from iceberg_tables import load_table, new_lakehouse, publish, read_tables
from processed_lake import ALL, ProcessedLake, sale
from s3_service import S3Service
from small_star import FACT, SMALL

from totes.config.dsn import Dsn
from totes.errors import IcebergBusy, IcebergError, UsageError
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.maintenance import compact


def in_postgresql(request: pytest.FixtureRequest) -> Lakehouse:
    dsn: Dsn = request.getfixturevalue("warehouse").dsn
    return Lakehouse(dsn, str(request.getfixturevalue("tmp_path") / "files"))


def in_s3(request: pytest.FixtureRequest) -> Lakehouse:
    service: S3Service = request.getfixturevalue("service")
    service.environment(request.getfixturevalue("monkeypatch"))
    catalogue = f"sqlite:///{request.getfixturevalue('tmp_path')}/catalogue.db"
    return Lakehouse(catalogue, f"s3://{service.new_bucket()}/iceberg")


def in_s3_and_glue(request: pytest.FixtureRequest) -> Lakehouse:
    return replace(in_s3(request), catalogue="glue:totes_star")


@pytest.mark.few(1)
@pytest.mark.parametrize("place", [in_postgresql, in_s3, in_s3_and_glue])
def test_the_tables_are_the_same_in_every_catalogue_and_place(
    request: pytest.FixtureRequest,
    lake: ProcessedLake,
    tmp_path: Path,
    place: Callable[[pytest.FixtureRequest], Lakehouse],
) -> None:
    """Publish twice and compact; the tables equal those in SQLite and a folder."""
    lakehouse = place(request)
    lake.publish({**ALL, FACT: [sale(1), sale(2, design_id=9)]})
    assert publish(lakehouse, lake) == [1]
    lake.publish({FACT: [sale(3)]})
    assert publish(lakehouse, lake) == [2]
    list(compact(lakehouse, SMALL))
    assert publish(lakehouse, lake) == []
    usual = new_lakehouse(tmp_path, "usual")
    publish(usual, lake)
    assert read_tables(lakehouse, SMALL) == read_tables(usual, SMALL)
    assert load_table(lakehouse).location() == f"{lakehouse.location}/{FACT}"


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
