"""The three stages in a row: once, or again and again until told to stop."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from threading import Event

from totes.alert import alert
from totes.batch import ProcessedManifest
from totes.errors import TotesError, UsageError, WarehouseError
from totes.ingest import Accept, Ingested, ingest, newest_batch
from totes.lake.store import Store
from totes.load import load, record_checked
from totes.policy import exit_code, persistently, policy, steadily
from totes.progress import QUIET, Progress
from totes.settings import Dsn
from totes.source.catalogue import Scope
from totes.transform import transform
from totes.warehouse.connection import connect, is_database
from totes.warehouse.quarantine import set_aside
from totes.warehouse.schema import migrate

log = logging.getLogger(__name__)

REST = 10
"""The pause after a capture is at least so many times its length: the source has other work."""

LONGEST_PAUSE_SECONDS = 60.0

NOTHING = Accept()


@dataclass(frozen=True)
class Pipeline:
    """Where everything is."""

    source: Dsn
    scope: Scope
    ingestion: Store
    processed: Store
    warehouse: Dsn


@dataclass(frozen=True)
class Done:
    """One step: the stage that took it, the batch (None: nothing new), its rows.

    `refused` counts the rows of each star table that were set aside: by transform those that break
    the contract, by load those that wait for a row of a dimension.
    """

    stage: str
    batch: int | None
    rows: int
    at: datetime
    refused: Mapping[str, int] = field(default_factory=dict)


def steps(
    pipeline: Pipeline, stage: str, accept: Accept = NOTHING, progress: Progress = QUIET
) -> Iterator[Done]:
    """All that one stage has to do, batch by batch; stopping between two of them is safe."""
    if stage == "ingest":
        found = ingest(
            pipeline.source, pipeline.ingestion, pipeline.scope, accept=accept, progress=progress
        )
        yield ingested(found)
    elif stage == "transform":
        for made in transform(pipeline.ingestion, pipeline.processed, progress=progress):
            yield Done(stage, made.batch, made.rows, made.captured_at, refused(made))
    else:
        if not _migrate_new(pipeline):
            return
        for loaded in load(pipeline.processed, pipeline.warehouse, progress=progress):
            waiting = set_aside(pipeline.warehouse, loaded.batch)
            yield Done(stage, loaded.batch, loaded.rows, loaded.captured_at, waiting)


def ingested(found: Ingested) -> Done:
    """A capture as a step."""
    if found.batch is None:
        return Done("ingest", None, 0, found.checked_at)
    return Done("ingest", found.batch.batch, found.batch.rows, found.checked_at)


def refused(made: ProcessedManifest) -> Mapping[str, int]:
    rows: Counter[str] = Counter()
    for file in made.refused:
        rows[file.table] += file.rows
    return rows


def _migrate_new(pipeline: Pipeline) -> bool:
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
    migrate(pipeline.warehouse)
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
    alert_command: str | None = None,
    watch: Callable[[Done], None] | None = None,
    progress: Progress = QUIET,
    rest: int = REST,
) -> None:
    """Run until `stop` is set, which is looked at between batches and while pausing.

    The pause lasts for `every`, or `rest` times as long as the capture where that is longer.
    `accept` holds for the first capture that succeeds, and no longer.
    """
    runner = _Runner(pipeline, stop, accept, alert_command, watch, progress)
    while not stop.is_set():
        capture_seconds = runner.round()
        stop.wait(max(every.total_seconds(), rest * capture_seconds))


@dataclass
class _Health:
    """How a stage has fared: a failing one waits longer and longer, the others go on."""

    failures: int = 0
    retry_at: float = 0.0
    told: set[str] = field(default_factory=set)


@dataclass
class _Runner:
    pipeline: Pipeline
    stop: Event
    accept: Accept
    alert_command: str | None
    watch: Callable[[Done], None] | None
    progress: Progress
    health: Mapping[str, _Health] = field(
        default_factory=lambda: {stage: _Health() for stage in STAGES}
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
        if health.failures:
            log.info("%s works again.", stage)
            health.failures, health.told = 0, set()

    def _advance(self, stage: str) -> None:
        for done in steps(self.pipeline, stage, self.accept, self.progress):
            if stage == "ingest":
                self.checked_at, self.accept = done.at, NOTHING
            if self.watch:
                self.watch(done)
            tell_refused(self.alert_command, done)
            if self.stop.is_set():
                return
        if stage == "load" and self.checked_at is not None:
            record_checked(self.pipeline.warehouse, self.checked_at)

    def _failed(self, stage: str, error: Exception) -> None:
        health = self.health[stage]
        health.failures += 1
        pause = min(2.0**health.failures, LONGEST_PAUSE_SECONDS)
        health.retry_at = time.monotonic() + pause
        known = isinstance(error, TotesError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        log.error("%s failed, trying again in %d s: %s", stage, pause, text, exc_info=not known)
        if health.failures >= policy(error).alarm_after and text not in health.told:
            health.told.add(text)  # once for each thing that is wrong, not for each try
            code = exit_code(type(error))
            alert(self.alert_command, {"stage": stage, "message": text, "exit_code": code})


def tell_refused(command: str | None, done: Done) -> None:
    """Tell a person that rows were set aside, where any were."""
    if not done.refused:
        return
    rows = ", ".join(f"{count} of {table}" for table, count in sorted(done.refused.items()))
    text = f"Batch {done.batch}: rows set aside, {rows}. See `totes quarantine show`."
    log.warning(text)
    alert(
        command,
        {"stage": done.stage, "batch": done.batch, "message": text, "refused": dict(done.refused)},
    )
