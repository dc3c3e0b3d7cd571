"""Status: last batches, freshness, quarantine, and changes of the source's schema."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from totes.config.dsn import Dsn
from totes.errors import SourceError
from totes.lake.manifest import FormerTable, Manifest, Table, manifest_path, processed_manifest_path
from totes.lake.manifests import (
    find_current_generation,
    find_last_heartbeat,
    find_newest_number,
    read_manifest,
    read_processed_manifest,
)
from totes.lake.store import Store
from totes.lake.unfinished import StoredCapture, UnfinishedBatch
from totes.source import session
from totes.source.log.slot import read_slot
from totes.warehouse.connection import connect
from totes.warehouse.quarantine import QuarantineCount, count_quarantined_rows
from totes.warehouse.schema import check_migrations

MAX_SCHEMA_CHANGES = 5
"""The number of changes of the source's schema that are reported, the newest first."""

MAX_CLOCK_DIFFERENCE = timedelta(minutes=1)
"""A larger difference between the clocks of the source and the warehouse is reported."""


@dataclass(frozen=True)
class Stage:
    """The last batch of a stage (0: none), and the number of batches it has not processed."""

    name: str
    batch: int
    captured_at: datetime | None
    rows: int
    pending: int


@dataclass(frozen=True)
class CapturedRows:
    """The numbers of changed and deleted rows of a source table in the last batch."""

    table: str
    changed: int
    deleted: int


@dataclass(frozen=True)
class UnreadableCount:
    """The number of values of a source table that can't be read, as of the last batch."""

    table: str
    values: int


@dataclass(frozen=True)
class SchemaChange:
    """A change of a source table's schema; `batch` is the first batch that has it."""

    batch: int
    captured_at: datetime
    table: str
    what: str


@dataclass(frozen=True)
class Verification:
    """The last `totes verify`: time by the warehouse's clock, batch, and result."""

    verified_at: datetime
    batch: int
    equal: bool


@dataclass(frozen=True)
class Gap:
    """A batch before which versions may be missing, and the reason."""

    batch: int
    captured_at: datetime
    reason: str


@dataclass(frozen=True)
class CaptureState:
    """How changes are captured: `mode` is TOTES_CAPTURE.

    In log mode, `slot` is the name of the replication slot, which a process may read at the moment
    (`active`), and `retained_bytes` is the size of the log that the source keeps for it. If the
    slot can't be used or read, `problem` says why.
    """

    mode: str
    slot: str | None = None
    active: bool = False
    retained_bytes: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Freshness:
    """The freshness of the warehouse at `now`, by its clock.

    It has the data of the source as of `data_to`; at `checked_at`, the source had no newer data.
    """

    now: datetime
    data_to: datetime | None
    checked_at: datetime | None
    verified: Verification | None

    @property
    def lag(self) -> timedelta | None:
        """Time since the warehouse last had all data of the source; None if it is not known."""
        if self.checked_at is None or self.ahead:
            return None
        return max(self.now - self.checked_at, timedelta())

    @property
    def lag_seconds(self) -> float | None:
        """The lag in seconds."""
        return self.lag.total_seconds() if self.lag is not None else None

    @property
    def ahead(self) -> timedelta | None:
        """By how much `checked_at` is in the future, if more than MAX_CLOCK_DIFFERENCE."""
        ahead = self.checked_at - self.now if self.checked_at else timedelta()
        return ahead if ahead > MAX_CLOCK_DIFFERENCE else None


@dataclass(frozen=True)
class WarehouseHealth(Freshness):
    """The freshness of the warehouse, and what it lacks.

    `first_loaded_at` is when the warehouse got its first batch. `quarantine` and `unreadable` are
    what `totes quarantine show` lists. `rates_day` is the last day with published exchange rates.
    """

    first_loaded_at: datetime | None
    quarantine: tuple[QuarantineCount, ...]
    unreadable: tuple[UnreadableCount, ...]
    rates_day: date | None


@dataclass(frozen=True)
class Status(WarehouseHealth):
    """The status of all stages, with quarantine and changes of the source's schema.

    `unfinished` is what is stored of the large tables of the next batch, if that has any.
    """

    stages: tuple[Stage, ...]
    loaded_at: datetime | None
    gap: Gap | None
    captured: tuple[CapturedRows, ...]
    unfinished: StoredCapture | None
    schema_changes: tuple[SchemaChange, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as `totes status --json` prints them; times are `datetime`."""
        return asdict(self) | {
            "lag_seconds": self.lag_seconds,
            "ahead_seconds": self.ahead and self.ahead.total_seconds(),
        }


@dataclass(frozen=True)
class _WarehouseState:
    """The bookkeeping of the warehouse."""

    now: datetime
    quarantine: tuple[QuarantineCount, ...] = ()
    batch: int = 0
    captured_at: datetime | None = None
    loaded_at: datetime | None = None
    rows: int = 0
    checked_at: datetime | None = None
    first_loaded_at: datetime | None = None
    verified: Verification | None = None
    gap: Gap | None = None


def read_warehouse_health(ingestion: Store, warehouse: Dsn) -> WarehouseHealth:
    """Return the health, from the warehouse and the last heartbeat in the lake."""
    state = _read_warehouse(warehouse)
    manifest = read_manifest(ingestion, state.batch)[0] if state.batch else None
    return WarehouseHealth(
        now=state.now,
        data_to=state.captured_at,
        checked_at=_checked_at(ingestion, state),
        first_loaded_at=state.first_loaded_at,
        verified=state.verified,
        quarantine=state.quarantine,
        unreadable=_unreadable_counts(manifest),
        rates_day=_rates_day(manifest),
    )


def publication_stage(processed: Store, position: tuple[int, int] | None) -> Stage:
    """Return the stage of the Iceberg tables; `position` is their generation and newest batch."""
    current = find_current_generation(processed)
    generation, batch = position or (current, 0)
    newest = find_newest_number(processed, lambda number: processed_manifest_path(current, number))
    if not batch or generation != current:
        return Stage("publish", 0, None, 0, newest)  # a replay is not published yet
    manifest, _ = read_processed_manifest(processed, generation, batch)
    return Stage("publish", batch, manifest.captured_at, manifest.rows, newest - batch)


def read_status(ingestion: Store, processed: Store, warehouse: Dsn) -> Status:
    """Return the status, from both stores and the warehouse; does not connect to the source.

    Reads about forty small objects of the lake, regardless of the number of batches.
    """
    state = _read_warehouse(warehouse)
    ingested = find_newest_number(ingestion, manifest_path, at_least=state.batch)
    manifest = read_manifest(ingestion, ingested)[0] if ingested else None
    transformed, transformed_at, transformed_rows = _read_transformed(processed)
    return Status(
        now=state.now,
        stages=(
            Stage("ingest", ingested, *_captured_at_and_rows(manifest), 0),
            Stage(
                "transform", transformed, transformed_at, transformed_rows, ingested - transformed
            ),
            Stage(
                "load",
                state.batch,
                state.captured_at,
                state.rows,
                transformed - state.batch,
            ),
        ),
        data_to=state.captured_at,
        checked_at=_checked_at(ingestion, state),
        first_loaded_at=state.first_loaded_at,
        verified=state.verified,
        loaded_at=state.loaded_at,
        gap=state.gap,
        captured=tuple(_captured_rows(manifest)) if manifest else (),
        unfinished=UnfinishedBatch(ingestion, ingested + 1).measure(),
        unreadable=_unreadable_counts(manifest),
        rates_day=_rates_day(manifest),
        quarantine=state.quarantine,
        schema_changes=tuple(
            find_schema_changes(lambda batch: read_manifest(ingestion, batch)[0], ingested)
        ),
    )


def read_capture(source: Dsn, slot_name: str) -> CaptureState:
    """Return the state of the capture from the log; an unreachable source is its `problem`."""
    try:
        with session.connect(source) as connection:
            slot = read_slot(connection, slot_name)
    except SourceError as error:
        return CaptureState("log", slot_name, problem=str(error))
    if slot is None:
        return CaptureState("log", slot_name, problem="there is no slot yet")
    problem = slot.misuse or ("the server has removed log that it needs" if slot.is_lost else None)
    return CaptureState("log", slot_name, slot.active, slot.retained_bytes, problem)


def _captured_at_and_rows(manifest: Manifest | None) -> tuple[datetime | None, int]:
    return (manifest.captured_at, manifest.rows) if manifest else (None, 0)


def _read_transformed(store: Store) -> tuple[int, datetime | None, int]:
    """Return the newest processed batch, its capture time and its rows."""
    generation = find_current_generation(store)
    batch = find_newest_number(store, lambda number: processed_manifest_path(generation, number))
    if not batch:
        return 0, None, 0
    manifest, _ = read_processed_manifest(store, generation, batch)
    return batch, manifest.captured_at, manifest.rows


def _checked_at(store: Store, state: _WarehouseState) -> datetime | None:
    """Return the time of the last check: the warehouse's, or that of a later heartbeat."""
    heartbeat = find_last_heartbeat(store, state.now)
    times = [state.checked_at]
    if heartbeat and heartbeat.batch <= state.batch:
        times.append(heartbeat.checked_at)
    return max((moment for moment in times if moment), default=None)


def _unreadable_counts(manifest: Manifest | None) -> tuple[UnreadableCount, ...]:
    return tuple(
        UnreadableCount(table.name, table.unreadable.rows)
        for table in (manifest.source_tables if manifest else ())
        if table.unreadable
    )


def _rates_day(manifest: Manifest | None) -> date | None:
    rates = manifest.rates.rates if manifest and manifest.rates else None
    return rates.actual if rates else None


def _captured_rows(manifest: Manifest) -> Iterator[CapturedRows]:
    for table in manifest.tables:
        if table.files:
            deleted = sum(file.deletes for file in table.files)
            yield CapturedRows(
                table.name, sum(file.rows for file in table.files) - deleted, deleted
            )


def _read_warehouse(warehouse: Dsn) -> _WarehouseState:
    with connect(warehouse) as connection:
        [(now, migrations)] = connection.execute(
            "SELECT clock_timestamp(), to_regclass('totes.migrations')"
        ).fetchall()
        if migrations is None:
            return _WarehouseState(now)
        check_migrations(connection)
        last = connection.execute(
            "SELECT batch, captured_at, loaded_at, rows, freshness.checked_at,"
            " (SELECT loaded_at FROM totes.batches ORDER BY batch LIMIT 1)"
            " FROM totes.batches CROSS JOIN totes.freshness ORDER BY batch DESC LIMIT 1"
        ).fetchone()
        verified = connection.execute(
            "SELECT verified_at, batch, equal FROM totes.verifications"
        ).fetchone()
        gap = connection.execute(
            "SELECT batch, captured_at, gap FROM totes.batches WHERE gap IS NOT NULL"
            " ORDER BY batch DESC LIMIT 1"
        ).fetchone()
    counts = count_quarantined_rows(warehouse)
    return replace(
        _WarehouseState(now, tuple(counts), *last or ()),
        verified=Verification(*verified) if verified else None,
        gap=Gap(*gap) if gap else None,
    )


def find_schema_changes(
    read: Callable[[int], Manifest], last: int, limit: int = MAX_SCHEMA_CHANGES
) -> Iterator[SchemaChange]:
    """Yield the newest changes of source tables: go back 1, 2, 4, 8 … batches, then bisect.

    `read` returns the manifest of a batch. This reads about 3·log2(n) of n manifests; a change that
    was reverted between two of these manifests is not found.
    """
    read = cache(read)
    newer, step, count = last, 1, 0
    while newer > 1 and count < limit:
        older = max(newer - step, 1)
        if _fingerprints(read(older)) == _fingerprints(read(newer)):
            newer, step = older, 2 * step
            continue
        while newer - older > 1:
            middle = (older + newer) // 2
            if _fingerprints(read(middle)) == _fingerprints(read(newer)):
                newer = middle
            else:
                older = middle
        yield from _compare(read(older), read(newer))
        newer, step, count = older, 1, count + 1


def _fingerprints(manifest: Manifest) -> Mapping[str, str]:
    return {table.name: table.fingerprint for table in manifest.source_tables}


def _compare(before: Manifest, after: Manifest) -> Iterator[SchemaChange]:
    """Yield the differences between two batches, including those after a change of the source."""
    names = {table.name for manifest in (before, after) for table in manifest.source_tables}
    for name in sorted(names):
        old, new = before.table(name), after.table(name)
        if old is None:
            what = "table restored" if _former_tables(before, name) else "table added"
        elif new is None:
            excluded = any(former.reason == "excluded" for former in _former_tables(after, name))
            what = "table excluded (TOTES_EXCLUDE_TABLES)" if excluded else "table dropped"
        else:
            what = _describe_changes(old, new)
        if what:
            yield SchemaChange(after.batch, after.captured_at, name, what)


def _former_tables(manifest: Manifest, name: str) -> list[FormerTable]:
    return [former for former in manifest.former if former.table.name == name]


def _describe_changes(before: Table, after: Table) -> str:
    if before.fingerprint == after.fingerprint:
        return ""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    changes = [f"{name} added ({new[name].type})" for name in new if name not in old]
    changes += [f"{name} dropped" for name in old if name not in new]
    changes += [
        f"type of {name} changed from {old[name].type} to {new[name].type}"
        for name in new
        if name in old and new[name].type != old[name].type
    ]
    if before.key != after.key:
        changes.append(f"primary key is now ({', '.join(after.key)})")
    return ", ".join(changes) or "altered, with the same columns"
