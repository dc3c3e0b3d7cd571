"""Status: how far each stage is, how fresh the data, and what changed in the source's schema."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from installation import Installation

from totes.lake.folder import FolderStore
from totes.lake.manifest import Column, Former, Heartbeat, Identity, Manifest, Table, heartbeat_path
from totes.operations.status import Carried, Status, schema_changes, status
from totes.stages.runner import steps

START = datetime(2026, 11, 22, tzinfo=UTC)
ID = Column(name="id", type="integer", kind="integer", nullable=False)


def look(installation: Installation) -> Status:
    pipeline = installation.pipeline
    return status(pipeline.ingestion, pipeline.processed, pipeline.warehouse)


def stages(seen: Status) -> list[tuple[str, int, int]]:
    return [(stage.name, stage.batch, stage.pending) for stage in seen.stages]


def test_before_the_first_batch_there_is_nothing_to_tell(installation: Installation) -> None:
    seen = look(installation)
    assert stages(seen) == [("ingest", 0, 0), ("transform", 0, 0), ("load", 0, 0)]
    assert (seen.data_to, seen.checked_at, seen.lag) == (None, None, None)
    assert (seen.carried, seen.quarantine, seen.schema_changes) == ((), (), ())


def test_it_tells_how_far_each_stage_is(installation: Installation) -> None:
    installation.filled().run()
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    list(steps(installation.pipeline, "ingest"))
    assert stages(look(installation)) == [("ingest", 2, 0), ("transform", 1, 1), ("load", 1, 0)]
    list(steps(installation.pipeline, "transform"))
    seen = look(installation)
    assert stages(seen) == [("ingest", 2, 0), ("transform", 2, 0), ("load", 1, 1)]
    assert seen.carried == (Carried("design", 1, 0),)
    assert seen.data_to is not None
    assert seen.stages[0].captured_at is not None
    assert seen.data_to < seen.stages[0].captured_at


def test_fresh_is_what_was_looked_at_lately(installation: Installation) -> None:
    installation.filled().run()
    [(data_to,)] = installation.ask("SELECT captured_at FROM totes.batches")
    [again] = installation.run()
    seen = look(installation)
    assert seen.data_to == data_to
    assert seen.checked_at == again.at > data_to
    assert seen.lag == seen.now - again.at


@pytest.mark.parametrize(("batch", "counts"), [(1, True), (2, False)])
def test_a_heartbeat_counts_when_the_warehouse_has_all_before_it(
    installation: Installation, batch: int, *, counts: bool
) -> None:
    installation.filled().run()
    beat = Heartbeat(batch=batch, checked_at=look(installation).now + timedelta(microseconds=1))
    FolderStore(installation.ingestion).create(
        heartbeat_path(beat), beat.model_dump_json().encode()
    )
    assert (look(installation).checked_at == beat.checked_at) is counts


def test_a_check_in_the_future_hides_no_lag(installation: Installation) -> None:
    installation.filled().run()
    beat = Heartbeat(batch=1, checked_at=look(installation).now + timedelta(hours=2))
    FolderStore(installation.ingestion).create(
        heartbeat_path(beat), beat.model_dump_json().encode()
    )
    seen = look(installation)
    assert seen.checked_at == beat.checked_at
    assert seen.lag is None
    assert seen.ahead == beat.checked_at - seen.now
    assert seen.to_json()["lag_seconds"] is None


def test_rows_that_wait_are_counted_by_table_and_reason(installation: Installation) -> None:
    installation.filled().run()
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id < 4"
    )
    installation.run()
    [waiting] = look(installation).quarantine
    assert (waiting.rows, waiting.table, waiting.column) == (
        3,
        "fact_sales_order",
        "agreed_delivery_date",
    )


def test_it_prints_as_json(installation: Installation) -> None:
    installation.filled().run()
    printed = json.loads(json.dumps(look(installation).to_json(), default=str))
    assert printed["stages"][2]["batch"] == 1
    assert printed["lag_seconds"] >= 0


def test_a_change_of_the_sources_schema_is_told_with_its_batch(installation: Installation) -> None:
    installation.filled().run()
    installation.change("ALTER TABLE staff ADD COLUMN badge text DEFAULT 'none'")
    installation.run()
    [change] = look(installation).schema_changes
    assert (change.batch, change.table, change.what) == (2, "staff", "badge added (text)")


def manifest(batch: int, *tables: Table) -> Manifest:
    return Manifest(
        batch=batch,
        previous=None,
        captured_at=START + timedelta(seconds=batch),
        snapshot="1:1:",
        identity=Identity(system_identifier="1", database_oid=1, timeline=1, database="d"),
        tables=tables,
    )


def table(
    fingerprint: str, *columns: Column, name: str = "t", key: tuple[str, ...] = ("id",)
) -> Table:
    return Table(
        name=name,
        columns=(ID, *columns),
        key=key,
        fingerprint=fingerprint,
        whole=False,
        files=(),
        rows=0,
    )


TEXT = Column(name="note", type="text", kind="text", nullable=True)
LONG = Column(name="note", type="varchar(9)", kind="text", nullable=True)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (table("a"), table("b", TEXT), "note added (text)"),
        (table("a", TEXT), table("b"), "note dropped"),
        (table("a", TEXT), table("b", LONG), "note retyped from text to varchar(9)"),
        (table("a"), table("b", key=()), "primary key is now ()"),
        (table("a"), table("b"), "altered, with the same columns"),
        (None, table("a"), "table added"),
        (table("a"), None, "table dropped"),
    ],
)
def test_what_was_altered_is_said(before: Table | None, after: Table | None, told: str) -> None:
    log: list[Any] = [
        None,
        manifest(1, *filter(None, [before])),
        manifest(2, *filter(None, [after])),
    ]
    [change] = schema_changes(log.__getitem__, 2)
    assert (change.batch, change.what) == (2, told)


def test_a_table_left_out_by_a_setting_is_not_dropped_and_one_that_is_back_not_new() -> None:
    away = Former(table=table("a"), since=2, reason="excluded")
    log: list[Any] = [None, manifest(1, table("a")), manifest(2), manifest(3, table("a"))]
    log[2] = log[2].model_copy(update={"former": (away,)})
    assert [(change.batch, change.what) for change in schema_changes(log.__getitem__, 3)] == [
        (3, "table is back"),
        (2, "table left out (TOTES_EXCLUDE_TABLES)"),
    ]


def test_changes_long_ago_are_found_in_few_looks() -> None:
    looked = set[int]()

    def read(batch: int) -> Manifest:
        looked.add(batch)
        columns = [TEXT] if batch >= 300_000 else []
        columns += [LONG.model_copy(update={"name": "more"})] if batch >= 999_990 else []
        return manifest(batch, table(str(len(columns)), *columns))

    found = [(change.batch, change.what) for change in schema_changes(read, 1_000_000)]
    assert found == [(999_990, "more added (varchar(9))"), (300_000, "note added (text)")]
    assert len(looked) < 70


def test_only_the_newest_changes_are_sought() -> None:
    log = [manifest(max(batch, 1), table(str(batch))) for batch in range(20)]
    assert [change.batch for change in schema_changes(log.__getitem__, 19, most=3)] == [19, 18, 17]
