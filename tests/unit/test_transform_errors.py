"""The transform stage and its errors, crashes and concurrent runs: nothing is published by half."""

from pathlib import Path

import pytest
from lake_writer import LakeWriter, row
from scratch_source import once
from stage_fixtures import AtFailpoint
from transform_lake import ALL, Lake, edit, keys

from totes.errors import LakeError, ModelError
from totes.lake.manifest import (
    Manifest,
    ProcessedManifest,
    manifest_path,
)
from totes.stages.transform import transform


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_transform_stops_at_a_missing_column_and_continues_once_it_is_restored(
    lake: Lake, models: Path
) -> None:
    lake.add(ALL)
    lake.writer.columns["design"].remove("file_name")
    lake.writer.add({"design": [row("design")]}, whole={"design"})
    lake.writer.add({"sales_order": [row("sales_order")]})
    before = list(lake.processed.list(""))
    with pytest.raises(ModelError, match=r"dim_design .*batch 2.*design\.file_name"):
        lake.transform()
    assert list(lake.processed.list("")) == before
    corrected = edit(models, "dim_design", "file_name\n", "design_name as file_name\n")
    assert [made.batch for made in lake.transform(corrected)] == [2, 3]


def test_an_error_names_a_missing_source_table(lake: Lake) -> None:
    del lake.writer.columns["department"]
    lake.writer.add({"staff": [row("staff")]})
    with pytest.raises(ModelError, match=r"dim_staff .*batch 1.*no table department"):
        lake.transform()


def test_an_error_names_a_different_primary_key(lake: Lake) -> None:
    lake.writer.keys["design"] = ("design_id", "design_name")
    lake.writer.add({"design": [row("design")]})
    with pytest.raises(ModelError, match=r"dim_design .*batch 1.*design_id, design_name"):
        lake.transform()


@pytest.mark.parametrize(
    "expression", ["cast(file_name as int)", "no_such(file_name)", "error('x')"]
)
def test_an_error_names_a_failing_model_and_nothing_is_published(
    lake: Lake, models: Path, expression: str
) -> None:
    lake.writer.add(ALL)
    failing = edit(models, "dim_design", "file_name\n", f"{expression} as file_name\n")
    with pytest.raises(ModelError, match=r"dim_design can't run on batch 1: "):
        lake.transform(failing)
    assert list(lake.processed.list("")) == []
    assert [made.batch for made in lake.transform()] == [1]


def test_a_crash_before_the_manifest_publishes_nothing(
    lake: Lake, at_failpoint: AtFailpoint
) -> None:
    class Killed(Exception):
        pass

    def interrupt() -> None:
        raise Killed

    lake.writer.add(ALL)
    at_failpoint("transform.before-manifest", once(interrupt))
    with pytest.raises(Killed):
        lake.transform()
    assert not list(lake.processed.list("generation=1/batches/"))
    [made] = lake.transform()
    assert keys(lake.rows(made, "dim_staff")) == [1]


def test_of_two_concurrent_transforms_one_publishes_and_the_other_continues(
    lake: Lake, at_failpoint: AtFailpoint
) -> None:
    lake.writer.add(ALL)
    lake.writer.add({"department": [row("department", location="Leeds")]})
    overtaking: list[ProcessedManifest] = []

    def publish_first() -> None:
        overtaking.append(next(transform(lake.writer.store, lake.processed)))

    at_failpoint("transform.before-manifest", once(publish_first))
    [second] = lake.transform()
    assert [overtaking[0].batch, second.batch] == [1, 2]
    assert [found["location"] for found in lake.rows(second, "dim_staff")] == ["Leeds"]


def damage(lake: Lake, path: str, data: bytes) -> None:
    local = Path(lake.folder) / path
    local.chmod(0o644)
    local.write_bytes(data)


def test_an_error_names_a_damaged_data_file_and_nothing_is_published(lake: Lake) -> None:
    batch = lake.writer.add(ALL)
    path = first_file(batch, "design")
    good = (lake.folder / "ingestion" / path).read_bytes()
    damage(lake, f"ingestion/{path}", bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(LakeError, match=path):
        lake.transform()
    assert list(lake.processed.list("")) == []
    damage(lake, f"ingestion/{path}", good)
    assert len(lake.transform()) == 1


def test_an_error_names_a_missing_data_file(lake: Lake) -> None:
    batch = lake.writer.add(ALL)
    path = first_file(batch, "payment")
    (lake.folder / "ingestion" / path).unlink()
    with pytest.raises(LakeError, match=path):
        lake.transform()


def test_an_error_names_a_damaged_file_of_current_rows(lake: Lake) -> None:
    made = lake.add(ALL)
    damage(lake, f"processed/{made.state['staff'][0].path}", b"")
    lake.writer.add({"department": [row("department")]})
    with pytest.raises(LakeError, match="generation=1/state/staff/"):
        lake.transform()


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_different_ingestion_store_is_an_error(lake: Lake, tmp_path: Path, batches: int) -> None:
    lake.add(ALL)
    other = LakeWriter(tmp_path / "other")
    for number in range(batches):
        other.add({"design": [row("design", design_id=number + 1)]})
    with pytest.raises(LakeError, match="was not made from batch"):
        list(transform(other.store, lake.processed))


def test_a_batch_with_a_different_predecessor_is_an_error(lake: Lake) -> None:
    lake.add(ALL)
    different = lake.writer.add().model_copy(update={"previous": "0" * 64})
    damage(lake, f"ingestion/{manifest_path(2)}", different.to_json())
    with pytest.raises(LakeError, match="does not follow"):
        lake.transform()


def first_file(batch: Manifest, table: str) -> str:
    found = batch.table(table)
    assert found is not None
    return found.files[0].path
