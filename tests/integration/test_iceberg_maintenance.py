"""Compaction and expiry change no row, also when interrupted or beside a publication."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults import killed_at
from iceberg_tables import (
    load_table,
    new_lakehouse,
    publish,
    published_batch,
    publishing_pipeline,
    read_tables,
)
from processed_lake import ALL, ProcessedLake, sale
from scratch_source import once
from small_star import FACT, SMALL
from stage_fixtures import AtFailpoint

from totes.error_policy import retry
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.maintenance import compact, expire
from totes.lakehouse.publish import Publisher
from totes.stages.runner import Pipeline

pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest.fixture
def lakehouse(tmp_path: Path, lake: ProcessedLake) -> Lakehouse:
    """Tables with three batches: two files of orders."""
    made = new_lakehouse(tmp_path)
    lake.publish({**ALL, FACT: [sale(1), sale(2, design_id=9)]})
    publish(made, lake)
    lake.publish({FACT: [sale(3)]})
    lake.publish({FACT: [sale(1, units_sold=1)]})
    publish(made, lake)
    return made


def count_files(lakehouse: Lakehouse) -> int:
    return len(list(load_table(lakehouse, FACT).scan().plan_files()))


def files_on_disk(lakehouse: Lakehouse) -> set[Path]:
    return {path for path in Path(lakehouse.url).rglob("*") if path.is_file()}


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def test_compaction_merges_small_files_and_keeps_rows_and_earlier_batches(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    rows = read_tables(lakehouse, SMALL)
    assert count_files(lakehouse) == 2
    list(compact(lakehouse, SMALL))
    assert count_files(lakehouse) == 1
    assert read_tables(lakehouse, SMALL) == rows
    first, *_, last = load_table(lakehouse, FACT).snapshots()
    assert published_batch(last) is None
    assert len(read_tables(lakehouse, SMALL, {FACT: first.snapshot_id})[FACT]) == 1
    assert [one.files_after - one.files_before for one in compact(lakehouse, SMALL)] == [0, 0]
    assert load_table(lakehouse, FACT).current_snapshot() == last
    lake.publish({FACT: [sale(4)]})
    assert publish(lakehouse, lake) == [4]


@pytest.mark.few(1)
@pytest.mark.parametrize("changed", [sale(1, units_sold=5), sale(4)], ids=["same", "other"])
@pytest.mark.parametrize(
    ("first", "second"), [("publish", "compact"), ("compact", "publish")], ids=str
)
def test_compaction_and_publication_at_once_lose_nothing(  # noqa: PLR0913, PLR0917  fixtures
    lake: ProcessedLake,
    lakehouse: Lakehouse,
    tmp_path: Path,
    at_failpoint: AtFailpoint,
    first: str,
    second: str,
    changed: dict[str, object],
) -> None:
    """The first begins, the second is complete before it commits; files are the same or others."""
    lake.publish({FACT: [changed]})
    overtaken: list[str] = []
    actions: dict[str, Callable[[], object]] = {
        "publish": lambda: list(Publisher(lakehouse, SMALL).publish(lake.store)),
        "compact": lambda: list(compact(lakehouse, SMALL)),
    }

    def overtake() -> None:
        actions[second]()
        overtaken.append(second)

    at_failpoint(
        {"publish": "iceberg.before-commit", "compact": "iceberg.before-compaction"}[first],
        once(overtake),
    )
    retry(actions[first])
    assert overtaken
    assert count_files(lakehouse) < 3
    again = new_lakehouse(tmp_path, "again")
    publish(again, lake)
    assert read_tables(lakehouse, SMALL) == read_tables(again, SMALL)


def test_expiry_removes_old_snapshots_and_files_that_nothing_refers_to(
    lake: ProcessedLake, lakehouse: Lakehouse
) -> None:
    rows, files = read_tables(lakehouse, SMALL), files_on_disk(lakehouse)
    left = Path(load_table(lakehouse, FACT).location().removeprefix("file://")) / "data" / "left"
    left.write_text("by a publication that was killed")
    assert [(one.snapshots, one.files) for one in expire(lakehouse, SMALL, yesterday())] == [
        (0, 0),
        (0, 0),
    ]
    dimension, fact = expire(lakehouse, SMALL, soon())
    assert (dimension.snapshots, fact.snapshots) == (0, 2)
    assert fact.files > 2
    assert not left.exists()
    assert len(files_on_disk(lakehouse)) < len(files)
    assert read_tables(lakehouse, SMALL) == rows
    lake.publish({"dim_design": [{**ALL["dim_design"][0], "design_id": 9}]})
    assert publish(lakehouse, lake) == [4]
    [orders] = [rows for name, rows in read_tables(lakehouse, SMALL).items() if name == FACT]
    assert {row[0] for row in orders} == {1, 2, 3}, "the version that waited is still known"


def yesterday() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


def compact_all(pipeline: Pipeline) -> None:
    publisher = pipeline.publisher
    assert isinstance(publisher, Publisher)
    list(compact(publisher.lakehouse, publisher.star))


def expire_all(pipeline: Pipeline) -> None:
    publisher = pipeline.publisher
    assert isinstance(publisher, Publisher)
    list(expire(publisher.lakehouse, publisher.star, soon()))


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("action", "name"),
    [
        (compact_all, "iceberg.before-compaction"),
        (compact_all, "iceberg.compacted"),
        (expire_all, "iceberg.before-expiry"),
        (expire_all, "iceberg.expired"),
        (expire_all, "iceberg.before-deletion"),
    ],
)
def test_maintenance_killed_at_any_failpoint_loses_nothing(
    lake: ProcessedLake, lakehouse: Lakehouse, action: Callable[[Pipeline], None], name: str
) -> None:
    rows = read_tables(lakehouse, SMALL)
    pipeline = publishing_pipeline(lakehouse, lake)
    assert killed_at(pipeline, action, name)
    assert read_tables(lakehouse, SMALL) == rows
    action(pipeline)
    assert read_tables(lakehouse, SMALL) == rows
    lake.publish({FACT: [sale(4)]})
    assert publish(lakehouse, lake) == [4]
