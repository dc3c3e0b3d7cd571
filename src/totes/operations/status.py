"""Status: how far each stage has come, how fresh the warehouse is, and what waits for a person."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from totes.config.settings import Dsn
from totes.lake.log import current_generation, newest, read_manifest, read_processed_manifest
from totes.lake.manifest import Former, Manifest, Table, manifest_path, processed_manifest_path
from totes.lake.store import Store
from totes.stages.ingest import last_heartbeat
from totes.warehouse import quarantine
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_migrations

CHANGES = 5
"""How many changes of the source's schema are told, the newest first."""

CLOCKS_DIFFER = timedelta(minutes=1)
"""By how much the clocks of totesys and the warehouse may differ without a word."""


@dataclass(frozen=True)
class Stage:
    """How far a stage has come: its last batch (0: none), captured when, and how many wait."""

    name: str
    batch: int
    captured_at: datetime | None
    rows: int
    pending: int


@dataclass(frozen=True)
class Carried:
    """What the last batch brought of one source table."""

    table: str
    changed: int
    deleted: int


@dataclass(frozen=True)
class Unreadable:
    """How many values of a source table can't be read, as of the last batch."""

    table: str
    values: int


@dataclass(frozen=True)
class SchemaChange:
    """What was altered in a source table, seen first in `batch`."""

    batch: int
    captured_at: datetime
    table: str
    what: str


@dataclass(frozen=True)
class Verified:
    """The last `totes verify`: when (the warehouse's clock), of which batch, with which result."""

    verified_at: datetime
    batch: int
    equal: bool


@dataclass(frozen=True)
class Freshness:
    """The warehouse as it was at `now`, by its clock.

    It shows totesys as of `data_to`, and nothing newer was there at `checked_at`.
    """

    now: datetime
    data_to: datetime | None
    checked_at: datetime | None
    quarantine: tuple[quarantine.Count, ...]

    @property
    def lag(self) -> timedelta | None:
        """How long ago the warehouse was known to hold everything; None where nobody can tell."""
        if self.checked_at is None or self.ahead:
            return None
        return max(self.now - self.checked_at, timedelta())

    @property
    def ahead(self) -> timedelta | None:
        """By how much the last check lies in the future, where that is more than clocks differ."""
        ahead = self.checked_at - self.now if self.checked_at else timedelta()
        return ahead if ahead > CLOCKS_DIFFER else None


@dataclass(frozen=True)
class Status(Freshness):
    """The whole platform."""

    stages: tuple[Stage, ...]
    loaded_at: datetime | None
    verified: Verified | None
    carried: tuple[Carried, ...]
    unreadable: tuple[Unreadable, ...]
    schema_changes: tuple[SchemaChange, ...]

    def to_json(self) -> dict[str, Any]:
        """Moments as `datetime`, lag and ahead in seconds."""
        return asdict(self) | {
            "lag_seconds": self.lag and self.lag.total_seconds(),
            "ahead_seconds": self.ahead and self.ahead.total_seconds(),
        }


@dataclass(frozen=True)
class _Loaded:
    """What the warehouse says of itself."""

    now: datetime
    waiting: tuple[quarantine.Count, ...] = ()
    batch: int = 0
    captured_at: datetime | None = None
    loaded_at: datetime | None = None
    rows: int = 0
    checked_at: datetime | None = None
    verified: Verified | None = None


def freshness(ingestion: Store, warehouse: Dsn) -> Freshness:
    """Look at the warehouse alone, and at what the lake tells of the newest look at totesys."""
    loaded = _loaded(warehouse)
    return Freshness(loaded.now, loaded.captured_at, _checked_at(ingestion, loaded), loaded.waiting)


def status(ingestion: Store, processed: Store, warehouse: Dsn) -> Status:
    """Look at both stores and the warehouse; totesys itself is left alone.

    Costs some forty small reads of the lake however long its history is.
    """
    loaded = _loaded(warehouse)
    ingested = newest(ingestion, manifest_path, at_least=loaded.batch)
    manifest = read_manifest(ingestion, ingested)[0] if ingested else None
    transformed, made = _transformed(processed)
    return Status(
        now=loaded.now,
        stages=(
            Stage("ingest", ingested, *_brought(manifest), 0),
            Stage("transform", transformed, *made, ingested - transformed),
            Stage(
                "load", loaded.batch, loaded.captured_at, loaded.rows, transformed - loaded.batch
            ),
        ),
        data_to=loaded.captured_at,
        checked_at=_checked_at(ingestion, loaded),
        loaded_at=loaded.loaded_at,
        verified=loaded.verified,
        carried=tuple(_carried(manifest)) if manifest else (),
        unreadable=tuple(
            Unreadable(table.name, table.unreadable.rows)
            for table in (manifest.captured if manifest else ())
            if table.unreadable
        ),
        quarantine=loaded.waiting,
        schema_changes=tuple(
            schema_changes(lambda batch: read_manifest(ingestion, batch)[0], ingested)
        ),
    )


def _brought(manifest: Manifest | None) -> tuple[datetime | None, int]:
    return (manifest.captured_at, manifest.rows) if manifest else (None, 0)


def _transformed(store: Store) -> tuple[int, tuple[datetime | None, int]]:
    generation = current_generation(store)
    batch = newest(store, lambda number: processed_manifest_path(generation, number))
    if not batch:
        return 0, (None, 0)
    made, _ = read_processed_manifest(store, generation, batch)
    return batch, (made.captured_at, made.rows)


def _checked_at(store: Store, loaded: _Loaded) -> datetime | None:
    """A heartbeat counts too, when nothing but the loaded batches was there."""
    beat = last_heartbeat(store, loaded.now)
    known = [loaded.checked_at, beat.checked_at if beat and beat.batch <= loaded.batch else None]
    return max((moment for moment in known if moment), default=None)


def _carried(manifest: Manifest) -> Iterator[Carried]:
    for table in manifest.tables:
        if table.files:
            deleted = sum(file.deletes for file in table.files)
            yield Carried(table.name, sum(file.rows for file in table.files) - deleted, deleted)


def _loaded(warehouse: Dsn) -> _Loaded:
    with connect(warehouse) as connection:
        [(now, ledger)] = connection.execute(
            "SELECT clock_timestamp(), to_regclass('totes.migrations')"
        ).fetchall()
        if ledger is None:
            return _Loaded(now)
        check_migrations(connection)
        last = connection.execute(
            "SELECT batch, captured_at, loaded_at, rows, freshness.checked_at"
            " FROM totes.batches CROSS JOIN totes.freshness ORDER BY batch DESC LIMIT 1"
        ).fetchone()
        verified = connection.execute(
            "SELECT verified_at, batch, equal FROM totes.verifications"
        ).fetchone()
    waiting = quarantine.counts(warehouse)
    loaded = _Loaded(now, tuple(waiting), *last or ())
    return replace(loaded, verified=Verified(*verified)) if verified else loaded


def schema_changes(
    read: Callable[[int], Manifest], last: int, most: int = CHANGES
) -> Iterator[SchemaChange]:
    """The newest changes of the tables' shapes: sought 1, 2, 4, 8 … batches back, then bisected.

    So a history of n batches costs some 3·log2(n) manifests; a change that was undone between
    two of those looked at is not seen.
    """
    read = cache(read)
    newer, step, told = last, 1, 0
    while newer > 1 and told < most:
        older = max(newer - step, 1)
        if _shapes(read(older)) == _shapes(read(newer)):
            newer, step = older, 2 * step
            continue
        while newer - older > 1:
            middle = (older + newer) // 2
            if _shapes(read(middle)) == _shapes(read(newer)):
                newer = middle
            else:
                older = middle
        yield from _altered(read(older), read(newer))
        newer, step, told = older, 1, told + 1


def _shapes(manifest: Manifest) -> Mapping[str, str]:
    return {table.name: table.fingerprint for table in manifest.captured}


def _altered(before: Manifest, after: Manifest) -> Iterator[SchemaChange]:
    """Table by table; one that came anew with another source counts as altered too."""
    names = {table.name for manifest in (before, after) for table in manifest.captured}
    for name in sorted(names):
        was, now = before.table(name), after.table(name)
        if was is None:
            what = "table is back" if _known(before, name) else "table added"
        elif now is None:
            excluded = any(known.reason == "excluded" for known in _known(after, name))
            what = "table left out (TOTES_EXCLUDE_TABLES)" if excluded else "table dropped"
        else:
            what = _difference(was, now)
        if what:
            yield SchemaChange(after.batch, after.captured_at, name, what)


def _known(manifest: Manifest, name: str) -> list[Former]:
    return [former for former in manifest.former if former.table.name == name]


def _difference(before: Table, after: Table) -> str:
    if before.fingerprint == after.fingerprint:
        return ""
    was = {column.name: column for column in before.columns}
    now = {column.name: column for column in after.columns}
    told = [f"{name} added ({now[name].type})" for name in now if name not in was]
    told += [f"{name} dropped" for name in was if name not in now]
    told += [
        f"{name} retyped from {was[name].type} to {now[name].type}"
        for name in now
        if name in was and now[name].type != was[name].type
    ]
    if before.key != after.key:
        told.append(f"primary key is now ({', '.join(after.key)})")
    return ", ".join(told) or "altered, with the same columns"
