"""Spark writes the same rows as DuckDB: in every batch, of every type, whatever the values.

The hostile lake is in `make test`, with one of the other lakes; `make test-deep` has all.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from depth import drawn, sample_seed
from generations import Generation, assert_equal
from hostile_lake import write_hostile_lake
from lake_commands import transform, writers
from lake_reader import Line
from lake_writer import LakeWriter, row
from random_lake import TABLES, RandomLake

from totes.lake.folder import FolderStore
from totes.spark.cluster import SparkCluster
from totes.stages.transform import write_generation
from totes.star.folder import load_star

pytestmark = [pytest.mark.usefixtures("spark"), pytest.mark.few(1)]

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


# --- names of columns that are names of Spark, or of the engine itself ----------------------------


NAMES = (
    *("captured_at", "after", "buckets", "next_at", "next_seq", "is_version", "is_newest"),
    *("is_removed", "is_upsert", "first", "path", "rows", "value", "column id", "r"),
    *("_path", "_bucket", "_metadata", "_corrupt_record"),
)

PLAIN = tuple(name for name in NAMES if name[0] != "_" and " " not in name)
"""Those that a star table may have."""

DECLARATION = f"""
[dim_thing]
comment = "A thing."
key = ["id", "next_at"]
[dim_thing.columns]
id = {{ type = "integer", comment = "Its number." }}
names = {{ type = "text", comment = "All of its values." }}
{"\n".join(f'{name} = {{ type = "text", comment = "A value." }}' for name in PLAIN)}

[dim_some]
comment = "Some of them."
key = "buckets"
in_source = false
[dim_some.columns]
buckets = {{ type = "text", comment = "A value." }}

[dim_first]
comment = "The first of them."
key = "first"
in_source = false
[dim_first.columns]
first = {{ type = "text", comment = "A value." }}
rows = {{ type = "text", comment = "A value." }}
"""

MODELS = {
    "dim_thing": f"""select id, {", ".join(f'"{name}"' for name in PLAIN)},
        {" || ' ' || ".join(f'"{name}"' for name in NAMES)} as names
        from thing where _changed""",
    "dim_some": """select distinct buckets from thing
        where _corrupt_record like '_%' and next_at like '_%' and _changed""",
    "dim_first": "select first, rows from dim_thing",
}


def write_star(folder: Path, **models: str) -> Path:
    """Write a star with these models; return its folder."""
    (folder / "models").mkdir(parents=True)
    (folder / "star.toml").write_text(DECLARATION)
    for name, sql in {**MODELS, **models}.items():
        (folder / "models" / f"{name}.sql").write_text(sql)
    return folder


def thing(number: int) -> Line:
    return {"id": str(number), **{name: f"{name} of {number}" for name in NAMES}}


def transform_star(folder: Path, engine: str) -> Generation:
    """Write the generation of the lake in a folder, by the star in the same folder."""
    star = load_star(folder / "star")
    cluster = SparkCluster("local") if engine == "spark" else None
    stores = FolderStore(folder / "ingestion"), FolderStore(folder / engine)
    for _ in write_generation(*stores, 1, star.models, cluster=cluster):
        pass
    return Generation(stores[1], 1)


def test_columns_may_have_the_names_of_spark_and_of_the_engine(tmp_path: Path) -> None:
    writer = LakeWriter(tmp_path / "ingestion")
    writer.columns, writer.keys = {"thing": ["id", *NAMES]}, {"thing": ("id", "next_at")}
    write_star(tmp_path / "star")
    unreadable = thing(3) | {"_path": {"unreadable": "x", "hex": "ff"}}
    writer.add({"thing": [thing(1), thing(2), unreadable]})
    at = f"{writer.captured_at(2):%Y-%m-%dT%H:%M:%S.%fZ}"
    fields: list[Line] = [
        {"_op": kind, "_xid": "7", "_at": at, "_seq": number}
        for number, kind in enumerate(("upsert", "upsert", "delete"))
    ]
    key = {name: thing(5)[name] for name in writer.keys["thing"]}
    writer.add(log={"thing": [fields[0] | thing(4), fields[1] | thing(5), fields[2] | key]})
    assert_equal(transform_star(tmp_path, "duckdb"), transform_star(tmp_path, "spark"))
