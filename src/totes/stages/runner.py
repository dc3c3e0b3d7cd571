"""The three stages in a row: once, or again and again until told to stop."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from types import MappingProxyType
from typing import Protocol

from totes.alert import Alarm, alert
from totes.config.settings import Dsn
from totes.errors import TotesError, UsageError, WarehouseError
from totes.lake.manifest import File, ProcessedManifest
from totes.lake.store import Store
from totes.policy import exit_code, persistently, policy, steadily
from totes.progress import QUIET, Progress
from totes.rates import Rates
from totes.source.catalogue import Scope
from totes.stages.ingest import Accept, Ingested, ingest, newest_batch
from totes.stages.load import load, record_checked
from totes.stages.transform import transform
from totes.star.definition import TOTESYS, Star
from totes.warehouse.connection import connect, is_database
from totes.warehouse.quarantine import set_aside
from totes.warehouse.schema import migrate

log = logging.getLogger(__name__)

REST = 10
"""The pause after a capture is at least so many times its length: the source has other work."""

LONGEST_PAUSE_SECONDS = 60.0

NOTHING = Accept()

NOBODY = Alarm()

NONE: Mapping[str, int] = MappingProxyType({})


class Located(Protocol):
    """Where everything is; each stage asks only for what it needs."""

    @property
    def source(self) -> Dsn:
        """Totesys, as the role that may only read it."""
        ...

    @property
    def scope(self) -> Scope:
        """Which tables of it to ingest."""
        ...

    @property
    def ingestion(self) -> Store:
        """The ingestion store."""
        ...

    @property
    def processed(self) -> Store:
        """The processed store."""
        ...

    @property
    def warehouse(self) -> Dsn:
        """The warehouse, as the role that loads it."""
        ...

    @property
    def rates(self) -> Rates | None:
        """Exchange rates; with None, batches bring none."""
        ...

    @property
    def star(self) -> Star:
        """The star to build."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """All the places, known beforehand."""

    source: Dsn
    scope: Scope
    ingestion: Store
    processed: Store
    warehouse: Dsn
    rates: Rates | None = None
    """With None, batches bring no exchange rates."""
    star: Star = TOTESYS


@dataclass(frozen=True)
class Done:
    """One step: the stage that took it, the batch (None: nothing new), its rows and their files.

    `refused` counts the rows that were set aside: by ingest those of each source table with a value
    that can't be read, and of each star table by transform those that break the contract, by load
    those that wait for a row of a dimension.
    """

    stage: str
    batch: int | None
    rows: int
    at: datetime
    refused: Mapping[str, int] = field(default_factory=dict)
    size_bytes: int = 0


def steps(
    pipeline: Located, stage: str, accept: Accept = NOTHING, progress: Progress = QUIET
) -> Iterator[Done]:
    """All that one stage has to do, batch by batch; stopping between two of them is safe."""
    if stage == "ingest":
        found = ingest(
            pipeline.source,
            pipeline.ingestion,
            pipeline.scope,
            rates=pipeline.rates,
            accept=accept,
            progress=progress,
        )
        yield ingested(found)
    elif stage == "transform":
        for made in transform(
            pipeline.ingestion, pipeline.processed, pipeline.star, progress=progress
        ):
            yield transformed(made)
    else:
        if not _migrate_new(pipeline):
            return
        for made in load(pipeline.processed, pipeline.warehouse, pipeline.star, progress=progress):
            yield loaded(made, set_aside(pipeline.warehouse, made.batch))


def ingested(found: Ingested) -> Done:
    """A capture as a step."""
    if found.batch is None:
        return Done("ingest", None, 0, found.checked_at)
    files = [file for table in found.batch.tables for file in table.files]
    unreadable = Counter[str]()
    for table in found.batch.tables:
        unreadable[table.name] += sum(file.unreadable for file in table.files)
    return Done(
        "ingest",
        found.batch.batch,
        found.batch.rows,
        found.checked_at,
        refused=+unreadable,
        size_bytes=_size_bytes(files),
    )


def transformed(made: ProcessedManifest) -> Done:
    """A batch of the star as a step."""
    rows: Counter[str] = Counter()
    for file in made.refused:
        rows[file.table] += file.rows
    size_bytes = _size_bytes((*made.files, *made.refused))
    return Done("transform", made.batch, made.rows, made.captured_at, rows, size_bytes)


def loaded(made: ProcessedManifest, waiting: Mapping[str, int] = NONE) -> Done:
    """A batch that is in the warehouse as a step; `waiting` rows of it, for a dimension's."""
    size_bytes = _size_bytes((*made.files, *made.refused))
    return Done("load", made.batch, made.rows, made.captured_at, waiting, size_bytes)


def _size_bytes(files: Iterable[File]) -> int:
    return sum(file.bytes for file in files)


def _migrate_new(pipeline: Located) -> bool:
    """Make the tables of a warehouse that never had a batch; an older one waits for a person.

    Also where its making was interrupted. False before the first capture: there is nothing to load
    yet, nor is it known which database must not be written to.
    """
    with connect(pipeline.warehouse) as connection:
        made = connection.execute("SELECT to_regclass('totes.batches')").fetchone() != (None,)
        if made and connection.execute("SELECT FROM totes.batches LIMIT 1").fetchone() is not None:
            return True
    if newest_batch(pipeline.ingestion) is None:
        return False
    refuse_source(pipeline.ingestion, pipeline.warehouse)
    migrate(pipeline.warehouse, pipeline.star)
    return True


def refuse_source(ingestion: Store, warehouse: Dsn) -> None:
    """WarehouseError where a database to be made a warehouse is the one that is ingested."""
    captured = newest_batch(ingestion)
    if captured is None:
        return
    with connect(warehouse) as connection:
        if is_database(connection, captured[0].identity):
            raise WarehouseError(
                f"The warehouse {warehouse} is the database that is ingested, which is only ever "
                "read: name another database."
            )


STAGES = ("ingest", "transform", "load")


def run_once(
    pipeline: Pipeline, accept: Accept = NOTHING, progress: Progress = QUIET
) -> Iterator[Done]:
    """Bring the warehouse up to the source; the first error that doesn't pass ends it."""
    checked_at = None
    for stage in STAGES:
        for done in steadily(partial(steps, pipeline, stage, accept, progress)):
            if stage == "ingest":
                checked_at = done.at
            yield done
    if checked_at is not None:
        persistently(partial(record_checked, pipeline.warehouse, checked_at))


def run(  # noqa: PLR0913  what an operator chooses
    pipeline: Pipeline,
    every: timedelta,
    stop: Event,
    *,
    accept: Accept = NOTHING,
    alarm: Alarm = NOBODY,
    watch: Callable[[Done], None] | None = None,
    progress: Progress = QUIET,
    rest: int = REST,
) -> None:
    """Run until `stop` is set, which is looked at between batches and while pausing.

    The pause lasts for `every`, or `rest` times as long as the capture where that is longer.
    `accept` holds for the first capture that succeeds, and no longer.
    """
    runner = _Runner(pipeline, stop, accept, alarm, watch, progress)
    while not stop.is_set():
        capture_seconds = runner.round()
        stop.wait(max(every.total_seconds(), rest * capture_seconds))


@dataclass
class Health:
    """How a stage has fared, and of what a person was told meanwhile."""

    failures: int = 0
    retry_at: float = 0.0
    told: set[str] = field(default_factory=set)

    def failed(self, stage: str, error: Exception, alarm: Alarm, then: str = "") -> None:
        """Count and log a failure; a person is told when the policy says so, and once of each."""
        self.failures += 1
        known = isinstance(error, TotesError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        log.error("%s failed%s: %s", stage, then, text, exc_info=None if known else error)
        if self.failures >= policy(error).alarm_after and text not in self.told:
            self.told.add(text)  # once for each thing that is wrong, not for each try
            code = exit_code(type(error))
            alert(alarm, {"stage": stage, "message": text, "exit_code": code})

    def works(self, stage: str) -> None:
        """Whatever was wrong is over, and worth telling should it come again."""
        if self.failures:
            log.info("%s works again.", stage)
            self.failures, self.told = 0, set()


@dataclass
class _Runner:
    pipeline: Pipeline
    stop: Event
    accept: Accept
    alarm: Alarm
    watch: Callable[[Done], None] | None
    progress: Progress
    health: Mapping[str, Health] = field(
        default_factory=lambda: {stage: Health() for stage in STAGES}
    )
    checked_at: datetime | None = None
    """When this round's capture looked at the source, while every stage has done its part."""

    def round(self) -> float:
        """Each stage once; the seconds the capture took."""
        began = time.monotonic()
        capture_seconds = 0.0
        self.checked_at = None
        for stage in STAGES:
            self._attempt(stage)
            if stage == "ingest":
                capture_seconds = time.monotonic() - began
        return capture_seconds

    def _attempt(self, stage: str) -> None:
        health = self.health[stage]
        if self.stop.is_set():
            return
        if time.monotonic() < health.retry_at:
            self.checked_at = None
            return
        try:
            self._advance(stage)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001  a full disk or a bug must not end it either
            self.checked_at = None
            self._failed(stage, error)
            return
        health.works(stage)

    def _advance(self, stage: str) -> None:
        for done in steps(self.pipeline, stage, self.accept, self.progress):
            if stage == "ingest":
                self.checked_at, self.accept = done.at, NOTHING
            if self.watch:
                self.watch(done)
            tell_refused(self.alarm, done)
            if self.stop.is_set():
                return
        if stage == "load" and self.checked_at is not None:
            record_checked(self.pipeline.warehouse, self.checked_at)

    def _failed(self, stage: str, error: Exception) -> None:
        """A failing stage waits longer and longer, the others go on."""
        health = self.health[stage]
        pause = min(2.0 ** (health.failures + 1), LONGEST_PAUSE_SECONDS)
        health.retry_at = time.monotonic() + pause
        health.failed(stage, error, self.alarm, f", trying again in {pause:.0f} s")


def tell_refused(alarm: Alarm, done: Done) -> None:
    """Tell a person that rows were set aside, where any were."""
    if not done.refused:
        return
    rows = ", ".join(f"{count} of {table}" for table, count in sorted(done.refused.items()))
    text = f"Batch {done.batch}: rows set aside, {rows}. See `totes quarantine show`."
    log.warning(text)
    alert(
        alarm,
        {"stage": done.stage, "batch": done.batch, "message": text, "refused": dict(done.refused)},
    )
