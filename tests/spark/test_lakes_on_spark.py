"""Spark writes the same rows as DuckDB: in every batch, of every type, whatever the values."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from depth import drawn, sample_seed
from generations import Generation, assert_equal
from hostile_lake import write_hostile_lake
from lake_commands import transform, writers
from lake_writer import LakeWriter, row
from random_lake import TABLES, RandomLake

pytestmark = pytest.mark.usefixtures("spark")

ON_SPARK = {
    *("fact_sales_order", "fact_purchase_order", "fact_payment", "fact_exchange_rate"),
    *("dim_currency", "dim_design", "dim_payment_type", "dim_transaction"),
    "dim_date",
}
"""Star tables whose models read one source table, or other star tables."""

BATCHES = 15


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ingestion store of the hostile lake."""
    folder = tmp_path_factory.mktemp("hostile") / "ingestion"
    assert len(write_hostile_lake(folder)) == BATCHES
    return folder


@pytest.fixture(scope="module")
def expected(hostile: Path) -> Generation:
    """Its generation by DuckDB."""
    return transform(hostile, hostile.parent / "processed", "duckdb")


def test_every_batch_of_a_hostile_lake_is_equal(
    hostile: Path, expected: Generation, tmp_path: Path
) -> None:
    found = transform(hostile, tmp_path / "processed", "spark")
    assert_equal(expected, found)
    by_spark = {table for table, programs in writers(found).items() if "spark" in programs}
    assert by_spark >= ON_SPARK


def test_batches_that_only_delete_rows_of_a_table_are_equal(tmp_path: Path) -> None:
    lake = LakeWriter(tmp_path / "ingestion")
    lake.add({"payment_type": [row("payment_type")]}, deletes={"design": [1, "x"]})
    lake.add(deletes={"design": [2]})
    expected = transform(tmp_path / "ingestion", tmp_path / "duckdb", "duckdb")
    assert_equal(expected, transform(tmp_path / "ingestion", tmp_path / "spark", "spark"))


def random_seeds() -> Iterator[int]:
    return (sample_seed(f"random lake {number}") for number in range(drawn(1, 40)))


@pytest.mark.parametrize("seed", list(random_seeds()))
def test_every_batch_of_a_random_lake_is_equal(seed: int, tmp_path: Path) -> None:
    chance = Random(seed)  # noqa: S311  not for secrets
    tables = chance.sample(TABLES, drawn(2, len(TABLES)))  # each costs Spark some seconds
    lake = RandomLake(tmp_path / "ingestion", chance, tables)
    lake.write(drawn(6, 12))
    expected = transform(tmp_path / "ingestion", tmp_path / "duckdb", "duckdb")
    assert_equal(expected, transform(tmp_path / "ingestion", tmp_path / "spark", "spark"))
