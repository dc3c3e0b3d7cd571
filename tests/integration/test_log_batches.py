"""Batches of the log: quarantine, dimension rows that came and went, release, erasure."""

import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from database import fetch_rows
from lake_writer import ROWS, LakeWriter
from transform_lake import ALL, Lake, edit

from conftest import EmptyWarehouse
from totes.lake.folder import FolderStore
from totes.lake.line import order_in_log
from totes.lake.manifest import FORMAT, LogState, manifest_path
from totes.lake.manifests import read_manifest
from totes.operations.erase import Erasure, erase
from totes.operations.gc import find_orphaned_files
from totes.operations.release import release
from totes.stages.load import load

BAD_DATE = "2022/11/10"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def moments(writer: LakeWriter, count: int) -> list[datetime]:
    """Return the last moments of the next batch."""
    captured_at = writer.captured_at(len(writer.batches) + 1)
    return [captured_at - timedelta(milliseconds=ago) for ago in reversed(range(count))]


def test_a_rejected_version_between_two_accepted_ones_is_released_at_its_moment(
    lake: Lake, models: Path, warehouse: EmptyWarehouse
) -> None:
    """The accepted versions of its row are not loaded again."""
    lake.add(ALL)
    writer = lake.writer
    at = moments(writer, 4)
    lines = [
        writer.upsert("sales_order", at[n], n, units_sold=n + 1, agreed_delivery_date=day)
        for n, day in enumerate(("2022-11-10", BAD_DATE, "2022-11-10"))
    ]
    made = lake.add(log={"sales_order": [*lines, writer.upsert("sales_order", at[3], 1)]})
    [rejected] = lake.rejected_rows(made)
    assert (rejected["key"], rejected["valid_from"]) == ("1", at[1])
    list(load(lake.processed, warehouse.dsn))
    query = "SELECT units_sold, valid_from, valid_to FROM fact_sales_order ORDER BY valid_from"
    first = writer.captured_at(1)
    assert fetch_rows(warehouse.dsn, query) == [
        (84754, first, at[0]),
        (1, at[0], at[2]),
        (3, at[2], at[3]),
        (84754, at[3], None),
    ]
    in_quarantine = "SELECT valid_from, superseded_at, released_at FROM totes.quarantine"
    assert fetch_rows(warehouse.dsn, in_quarantine) == [(at[1], at[2], None)]
    date = "agreed_delivery_date,"
    corrected = edit(models, "fact_sales_order", date, f"replace({date[:-1]}, '/', '-') as {date}")
    released = writer.add(released=(2,))
    [made] = lake.transform(corrected)
    assert [found["valid_from"] for found in lake.rows(made, "fact_sales_order")] == [at[1]]
    list(load(lake.processed, warehouse.dsn))
    assert fetch_rows(warehouse.dsn, query)[1:3] == [(1, at[0], at[1]), (2, at[1], at[2])]
    assert fetch_rows(warehouse.dsn, in_quarantine) == [(at[1], at[2], released.captured_at)]


@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "released"])
def test_a_fact_keeps_the_dimension_row_that_came_and_went_with_it(
    lake: Lake, models: Path, warehouse: EmptyWarehouse, *, accepted: bool
) -> None:
    lake.add(ALL)
    writer = lake.writer
    at = moments(writer, 4)
    name = "Wooden" if accepted else None
    log = {
        "design": [
            writer.upsert("design", at[0], 1, design_id=2, design_name=name),
            writer.delete("design", at[2], 9, 2),
        ],
        "sales_order": [
            writer.upsert("sales_order", at[1], 1, sales_order_id=2, design_id=2),
            writer.delete("sales_order", at[2], 1, 2),
            writer.upsert("sales_order", at[3], 1, units_sold=5),
        ],
    }
    captured_at = writer.add(log=log).captured_at
    lake.transform()
    list(load(lake.processed, warehouse.dsn))
    if not accepted:
        in_quarantine = "SELECT star_table, superseded_at FROM totes.quarantine ORDER BY 1"
        assert fetch_rows(warehouse.dsn, in_quarantine) == [
            ("dim_design", captured_at),
            ("fact_sales_order", at[2]),
        ]
        corrected = edit(
            models, "dim_design", "design_name,", "coalesce(design_name, '') as design_name,"
        )
        writer.add(released=(2,))
        lake.transform(corrected)
        list(load(lake.processed, warehouse.dsn))
    waiting = "SELECT count(*) FROM totes.quarantine WHERE released_at IS NULL"
    assert fetch_rows(warehouse.dsn, waiting) == [(0,)]
    query = "SELECT design_id, valid_from, valid_to FROM fact_sales_order WHERE sales_order_id = 2"
    assert fetch_rows(warehouse.dsn, query) == [(2, at[1], at[2])]
    query = "SELECT table_name, key, deleted_at FROM totes.deleted_dimension_rows"
    assert fetch_rows(warehouse.dsn, query) == [("dim_design", "2", captured_at)]


def test_a_release_after_a_batch_of_the_log_is_not_of_the_log(lake: Lake) -> None:
    """It keeps how far the log has been read."""
    writer = lake.writer
    at = moments(writer, 1)[0]
    state = LogState(slot="totes", position="0/1A2B", ahead=(754,), gap="the slot was lost")
    last = writer.add(log={"design": [writer.upsert("design", at, 1)]})
    path = Path(writer.store.url) / manifest_path(1)
    path.unlink()
    path.write_bytes(last.model_copy(update={"log": state}).to_json())
    released = release(writer.store, [1])
    assert released == read_manifest(writer.store, 2)[0]
    assert released.format == FORMAT
    assert released.log == LogState(slot="totes", position="0/1A2B", ahead=(754,))
    assert [made.batch for made in lake.transform()] == [1, 2]
    assert not [*find_orphaned_files(writer.store), *find_orphaned_files(lake.processed)]


@pytest.mark.parametrize("is_deleted", [False, True], ids=["live", "deleted"])
def test_all_versions_of_a_row_in_the_log_are_erased(
    lake: Lake, tmp_path: Path, *, is_deleted: bool
) -> None:
    """The newest values are those of the last moment, wherever their line is in the file."""
    writer = lake.writer
    at = moments(writer, 3)
    lines = [
        writer.upsert("staff", at[2], 1, first_name="Adaqx"),
        writer.upsert("staff", at[2], 12, first_name="former", email_address="none"),
        writer.upsert("staff", at[1], 20, first_name="Graceqx"),
        writer.upsert("staff", at[1], 7, staff_id=2, first_name="Adaqx"),
        writer.delete("staff", at[0], 1, 1),
    ]
    if is_deleted:
        lines.append(writer.delete("staff", at[2], 100, 1))
    lines = lines[::-1] if is_deleted else lines
    writer.add(log={"staff": lines, "design": [writer.upsert("design", at[0], 1)]})
    into = FolderStore(tmp_path / "erased")
    result = erase(writer.store, into, Erasure("staff", ("1",), ("first_name", "email_address")))
    assert result.versions == (3 if is_deleted else 2)
    before, after = (
        table.files[0]
        for store in (writer.store, into)
        if (table := read_manifest(store, 1)[0].table("staff"))
    )
    texts = [
        gzip.decompress(store.get(file.path)).splitlines()
        for store, file in ((writer.store, before), (into, after))
    ]
    newest = ("erased", "erased") if is_deleted else ("former", "none")
    for old, new in zip(*texts, strict=True):
        line = json.loads(old)
        if line["staff_id"] == 1 and line["_op"] == "upsert":
            expected = line | dict(zip(("first_name", "email_address"), newest, strict=True))
            assert list(json.loads(new).items()) == list(expected.items())
            assert order_in_log(json.loads(new)) == order_in_log(line)
        else:
            assert new == old
    lake.writer.store = into
    assert [made.batch for made in lake.transform()] == [1]


def test_equal_lines_of_a_scan_and_of_the_log_give_equal_current_rows(lake: Lake) -> None:
    """Current rows of joined tables are those after the last line of each key."""
    writer = lake.writer
    lake.add({table: ALL[table] for table in ROWS if table != "staff"})
    at = moments(writer, 2)
    log = [
        writer.upsert("department", at[1], 2, location="Leeds"),
        writer.upsert("department", at[1], 1, location="York"),
        writer.upsert("department", at[0], 3, department_id=2, location="Hull"),
        writer.delete("department", at[1], 3, 2),
    ]
    lake.add(log={"department": log})
    made = lake.add(
        {"staff": [ALL["staff"][0], {**ALL["staff"][0], "staff_id": 2, "department_id": 2}]}
    )
    [found] = lake.rows(made, "dim_staff")
    assert found["location"] == "Leeds"
    assert [found["key"] for found in lake.rejected_rows(made)] == ["2"]
