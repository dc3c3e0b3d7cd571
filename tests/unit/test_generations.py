"""The comparison of generations, which the tests of engines rely on, sees every difference."""

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest
from generations import Generation, compare
from lake_writer import row
from transform_lake import Lake

from totes.lake.manifest import (
    ProcessedManifest,
    StarFile,
    processed_manifest_path,
)
from totes.sql_text import literal
from totes.stages.transform import write_generation
from totes.star.contract import parquet
from totes.star.folder import TOTESYS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with two generations of two batches."""
    lake = Lake(tmp_path_factory.mktemp("generations"))
    tables = ("staff", "department", "sales_order", "address", "payment")
    types = [row("payment_type"), row("payment_type", payment_type_id=2)]
    lake.add({"payment_type": types, **{table: [row(table)] for table in tables}})
    lake.add({"design": [row("design", design_name=None)]}, deletes={"payment": [1]})
    for _ in write_generation(lake.writer.store, lake.processed, 2, TOTESYS.models):
        pass
    return lake.folder


@pytest.fixture
def generations(made: Path, tmp_path: Path) -> tuple[Generation, Generation]:
    folder = shutil.copytree(made, tmp_path / "lake")
    store = Lake(folder).processed
    return Generation(store, 1), Generation(store, 2)


def test_a_replay_by_the_same_engine_is_equal(generations: tuple[Generation, Generation]) -> None:
    comparison = compare(*generations)
    assert comparison.differences == ()
    manifests = generations[0].manifests()
    files = [file for made in manifests for file in (*made.files, *made.rejected)]
    assert {"dim_date", "dim_staff", "dim_design", "fact_payment"} <= {file.table for file in files}
    assert comparison.rows == sum(file.rows for file in files) > 365


def rewrite(generation: Generation, file: StarFile, sql: str, **counts: int) -> StarFile:
    """Replace a file with the rows of a query on it, and return its new manifest entry."""
    path = Path(generation.local(file))
    new = path.with_suffix(".new")
    with duckdb.connect() as engine:
        rows = sql.format(file=parquet(path))
        engine.execute(f"copy ({rows}) to {literal(str(new))} (format parquet)")
        [(count,)] = engine.execute(f"select count(*) from {parquet(new)}").fetchall()
    content = new.read_bytes()
    path.chmod(0o644)
    new.rename(path)
    described = {
        "rows": count,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return file.model_copy(update=described | counts)


def replace_manifest(generation: Generation, batch: int, **changes: Any) -> ProcessedManifest:
    manifest = generation.manifests()[batch - 1].model_copy(update=changes)
    path = Path(generation.store.url) / processed_manifest_path(generation.number, batch)
    path.chmod(0o644)
    path.write_bytes(manifest.to_json())
    return manifest


def replace_file(generation: Generation, batch: int, table: str, sql: str, **counts: int) -> None:
    """Replace a file of a batch with the rows of a query on it; its manifest agrees with it."""
    manifest = generation.manifests()[batch - 1]
    rejected = table.startswith("rejected ")
    files = manifest.rejected if rejected else manifest.files
    name = table.removeprefix("rejected ")
    changed = tuple(
        rewrite(generation, file, sql, **counts) if file.table == name else file for file in files
    )
    assert changed != files
    replace_manifest(generation, batch, **{"rejected" if rejected else "files": changed})


CASES: Mapping[str, tuple[str, str, dict[str, int], str]] = {
    "a row is missing": (
        "dim_payment_type",
        "from {file} where payment_type_id = 1",
        {},
        "accepted rows of dim_payment_type: .* lacks: 1 rows, such as .'1', '2'",
    ),
    "a file has no rows": ("fact_payment", "from {file} limit 0", {}, "has no rows"),
    "a row is there twice": (
        "dim_staff",
        "from {file} union all from {file}",
        {},
        "accepted rows of dim_staff: .* has more: 1 rows",
    ),
    "a value is different": (
        "fact_sales_order",
        "select * replace (2.44::decimal(10,2) as unit_price) from {file}",
        {},
        "accepted rows of fact_sales_order: .*lacks: 1 rows, such as .*'2.43'",
    ),
    "a value is NULL": (
        "dim_location",
        "select * replace (null::varchar as phone) from {file}",
        {},
        "accepted rows of dim_location",
    ),
    "a text is trimmed": (
        "dim_location",
        "select * replace (city || ' ' as city) from {file}",
        {},
        "accepted rows of dim_location",
    ),
    "a moment is different": (
        "fact_payment",
        "select * replace (valid_from + interval 1 microsecond as valid_from) from {file}",
        {},
        "accepted rows of fact_payment",
    ),
    "an operation is different": (
        "dim_staff",
        "select * replace ('delete' as _op) from {file}",
        {"deletes": 1},
        "accepted rows of dim_staff",
    ),
    "a type is different": (
        "dim_staff",
        "select * replace (staff_id::bigint as staff_id) from {file}",
        {},
        "accepted rows of dim_staff: the columns are .*BIGINT",
    ),
    "a moment has no zone": (
        "dim_staff",
        "select * replace (valid_from::timestamp as valid_from) from {file}",
        {},
        "accepted rows of dim_staff: the columns are ",
    ),
    "columns are in another order": (
        "dim_payment_type",
        "select payment_type_name, payment_type_id, valid_from, _op from {file}",
        {},
        "accepted rows of dim_payment_type: the columns are ",
    ),
    "a column is missing": (
        "dim_payment_type",
        "select * exclude (payment_type_name) from {file}",
        {},
        "accepted rows of dim_payment_type: the columns are ",
    ),
    "a count is wrong": (
        "dim_staff",
        "from {file}",
        {"rows": 2},
        "has 1 rows and 0 deletes, its manifest says 2 and 0",
    ),
    "the count of deletes is wrong": (
        "dim_staff",
        "from {file}",
        {"deletes": 1},
        "has 1 rows and 0 deletes, its manifest says 1 and 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_difference_of_accepted_rows_is_seen(
    generations: tuple[Generation, Generation], case: str
) -> None:
    table, sql, counts, expected = CASES[case]
    replace_file(generations[1], 1, table, sql, **counts)
    check_differs(generations, expected)


@pytest.mark.parametrize(
    "change",
    [
        "'is wrong' as reason",
        "'x' as value",
        "'file_name' as column_name",
        "'2' as key",
        "replace(row, 'upsert', 'update') as row",
        "valid_from + interval 1 second as valid_from",
    ],
)
def test_a_difference_of_rejected_rows_is_seen(
    generations: tuple[Generation, Generation], change: str
) -> None:
    replace_file(
        generations[1], 2, "rejected dim_design", f"select * replace ({change}) from {{file}}"
    )
    check_differs(generations, "rejected rows of dim_design: .*lacks: 1 rows")


def test_a_row_in_another_batch_is_seen(generations: tuple[Generation, Generation]) -> None:
    first, second = generations[1].manifests()
    [moved] = [file for file in first.files if file.table == "dim_staff"]
    replace_manifest(generations[1], 1, files=tuple(file for file in first.files if file != moved))
    replace_manifest(generations[1], 2, files=(*second.files, moved))
    check_differs(generations, "accepted rows of dim_staff: .*lacks: 1 rows, such as .'1'")


def test_a_file_that_is_named_twice_is_seen(generations: tuple[Generation, Generation]) -> None:
    manifest = generations[1].manifests()[0]
    replace_manifest(generations[1], 1, files=(*manifest.files, manifest.files[0]))
    check_differs(generations, "is named 2 times")


def test_a_damaged_or_missing_file_is_seen(generations: tuple[Generation, Generation]) -> None:
    file = generations[1].manifests()[0].files[0]
    path = Path(generations[1].local(file))
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    check_differs(generations, "not as its manifest")
    path.unlink()
    check_differs(generations, "is missing")


@pytest.mark.parametrize(
    "changes",
    [
        {"ingested": "0" * 64},
        {"models": "other"},
        {"waiting": {"dim_staff": 1}},
        {"gap": "other"},
        {"state": {}},
    ],
)
def test_a_difference_of_manifests_is_seen(
    generations: tuple[Generation, Generation], changes: dict[str, Any]
) -> None:
    replace_manifest(generations[1], 2, **changes)
    check_differs(generations, f"batch 2: {next(iter(changes))}")


def test_different_current_rows_are_seen(generations: tuple[Generation, Generation]) -> None:
    manifest = generations[1].manifests()[0]
    [file] = manifest.state["staff"]
    entry = StarFile(table="staff", **dict(file))
    changed = rewrite(generations[1], entry, "select * replace ('Ann' as first_name) from {file}")
    for batch in (1, 2):
        state = generations[1].manifests()[batch - 1].state
        replace_manifest(generations[1], batch, state={**state, "staff": (changed,)})
    check_differs(generations, "state rows of staff: .*lacks: 1 rows, .*Jeremie")


def test_a_missing_batch_is_seen(generations: tuple[Generation, Generation]) -> None:
    (Path(generations[1].store.url) / processed_manifest_path(2, 2)).unlink()
    check_differs(generations, "2 batches are expected, there are 1")
    check_differs(generations[::-1], "1 batches are expected, there are 2")


def check_differs(generations: tuple[Generation, Generation], expected: str) -> None:
    """Assert that one of the differences is as expected."""
    found = str(compare(*generations))
    assert re.search(expected, found), found
