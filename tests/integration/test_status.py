"""Status: last batches of the stages, freshness, and changes of the source's schema."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from installation import Installation

from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    Column,
    FormerTable,
    Heartbeat,
    Identity,
    Manifest,
    Table,
    heartbeat_path,
)
from totes.operations.status import CapturedRows, Status, find_schema_changes, read_status
from totes.stages.runner import run_stage

pytestmark = pytest.mark.few(5)

START = datetime(2026, 11, 22, tzinfo=UTC)
ID = Column(name="id", type="integer", kind="integer", nullable=False)


def status_of(installation: Installation) -> Status:
    pipeline = installation.pipeline
    return read_status(pipeline.ingestion, pipeline.processed, pipeline.warehouse)


def stages(result: Status) -> list[tuple[str, int, int]]:
    return [(stage.name, stage.batch, stage.pending) for stage in result.stages]


def test_status_is_empty_before_the_first_batch(installation: Installation) -> None:
    result = status_of(installation)
    assert stages(result) == [("ingest", 0, 0), ("transform", 0, 0), ("load", 0, 0)]
    assert (result.data_to, result.checked_at, result.lag) == (None, None, None)
    assert (result.captured, result.quarantine, result.schema_changes) == ((), (), ())


def test_status_has_the_last_batch_of_each_stage(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    list(run_stage(installation.pipeline, "ingest"))
    assert stages(status_of(installation)) == [
        ("ingest", 2, 0),
        ("transform", 1, 1),
        ("load", 1, 0),
    ]
    list(run_stage(installation.pipeline, "transform"))
    result = status_of(installation)
    assert stages(result) == [("ingest", 2, 0), ("transform", 2, 0), ("load", 1, 1)]
    assert result.captured == (CapturedRows("design", 1, 0),)
    assert result.data_to is not None
    assert result.stages[0].captured_at is not None
    assert result.data_to < result.stages[0].captured_at


def test_the_lag_is_the_time_since_the_last_check(installation: Installation) -> None:
    installation.add_orders().run()
    [(data_to,)] = installation.query("SELECT captured_at FROM totes.batches")
    [second_run] = installation.run()
    result = status_of(installation)
    assert result.data_to == data_to
    assert result.checked_at == second_run.at > data_to
    assert result.lag == result.now - second_run.at


@pytest.mark.few(1)
@pytest.mark.parametrize(("batch", "counts"), [(1, True), (2, False)])
def test_a_heartbeat_counts_when_the_warehouse_has_all_before_it(
    installation: Installation, batch: int, *, counts: bool
) -> None:
    installation.add_orders().run()
    heartbeat = Heartbeat(
        batch=batch, checked_at=status_of(installation).now + timedelta(microseconds=1)
    )
    FolderStore(installation.ingestion).create(
        heartbeat_path(heartbeat), heartbeat.model_dump_json().encode()
    )
    assert (status_of(installation).checked_at == heartbeat.checked_at) is counts


def test_there_is_no_lag_if_the_last_check_is_in_the_future(installation: Installation) -> None:
    installation.add_orders().run()
    now = status_of(installation).now
    end_of_day = now.astimezone(UTC).replace(hour=23, minute=59, second=59)
    # Heartbeats are found by their day.
    heartbeat = Heartbeat(batch=1, checked_at=min(now + timedelta(hours=2), end_of_day))
    FolderStore(installation.ingestion).create(
        heartbeat_path(heartbeat), heartbeat.model_dump_json().encode()
    )
    result = status_of(installation)
    assert result.checked_at == heartbeat.checked_at
    assert result.lag is None
    assert result.ahead == heartbeat.checked_at - result.now
    assert result.to_json()["lag_seconds"] is None


def test_quarantined_rows_are_counted_by_table_and_reason(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id < 4"
    )
    installation.run()
    [quarantined] = status_of(installation).quarantine
    assert (quarantined.rows, quarantined.table, quarantined.column) == (
        3,
        "fact_sales_order",
        "agreed_delivery_date",
    )


def test_status_can_be_printed_as_json(installation: Installation) -> None:
    installation.add_orders().run()
    printed = json.loads(json.dumps(status_of(installation).to_json(), default=str))
    assert printed["stages"][2]["batch"] == 1
    assert printed["lag_seconds"] >= 0


def test_a_change_of_the_sources_schema_is_reported_with_its_batch(
    installation: Installation,
) -> None:
    installation.add_orders().run()
    installation.change("ALTER TABLE staff ADD COLUMN badge text DEFAULT 'none'")
    installation.run()
    [change] = status_of(installation).schema_changes
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
    ("before", "after", "description"),
    [
        (table("a"), table("b", TEXT), "note added (text)"),
        (table("a", TEXT), table("b"), "note dropped"),
        (table("a", TEXT), table("b", LONG), "type of note changed from text to varchar(9)"),
        (table("a"), table("b", key=()), "primary key is now ()"),
        (table("a"), table("b"), "altered, with the same columns"),
        (None, table("a"), "table added"),
        (table("a"), None, "table dropped"),
    ],
)
def test_changes_of_a_table_are_described(
    before: Table | None, after: Table | None, description: str
) -> None:
    log: list[Any] = [
        None,
        manifest(1, *filter(None, [before])),
        manifest(2, *filter(None, [after])),
    ]
    [change] = find_schema_changes(log.__getitem__, 2)
    assert (change.batch, change.what) == (2, description)


def test_an_excluded_table_is_not_dropped_and_a_restored_one_not_added() -> None:
    excluded = FormerTable(table=table("a"), since=2, reason="excluded")
    log: list[Any] = [None, manifest(1, table("a")), manifest(2), manifest(3, table("a"))]
    log[2] = log[2].model_copy(update={"former": (excluded,)})
    assert [(change.batch, change.what) for change in find_schema_changes(log.__getitem__, 3)] == [
        (3, "table restored"),
        (2, "table excluded (TOTES_EXCLUDE_TABLES)"),
    ]


def test_old_changes_are_found_with_few_manifests() -> None:
    read_batches = set[int]()

    def read(batch: int) -> Manifest:
        read_batches.add(batch)
        columns = [TEXT] if batch >= 300_000 else []
        columns += [LONG.model_copy(update={"name": "more"})] if batch >= 999_990 else []
        return manifest(batch, table(str(len(columns)), *columns))

    found = [(change.batch, change.what) for change in find_schema_changes(read, 1_000_000)]
    assert found == [(999_990, "more added (varchar(9))"), (300_000, "note added (text)")]
    assert len(read_batches) < 70


def test_only_the_newest_changes_are_reported() -> None:
    log = [manifest(max(batch, 1), table(str(batch))) for batch in range(20)]
    assert [change.batch for change in find_schema_changes(log.__getitem__, 19, limit=3)] == [
        19,
        18,
        17,
    ]
