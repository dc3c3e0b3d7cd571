"""Names of columns that are names of Spark, or of the engine itself, are names like any other."""

from pathlib import Path

import pytest
from generations import Generation, assert_equal
from lake_reader import Line
from lake_writer import LakeWriter

from totes.lake.folder import FolderStore
from totes.spark.cluster import SparkCluster
from totes.stages.transform import write_generation
from totes.star.folder import load_star

pytestmark = pytest.mark.usefixtures("spark")

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


def transform(folder: Path, engine: str) -> Generation:
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
    assert_equal(transform(tmp_path, "duckdb"), transform(tmp_path, "spark"))
