"""The three stages in a row: once, or again and again until told to stop."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event

from totes.alert import alert
from totes.errors import TotesError, UsageError
from totes.ingest import Accept, ingest
from totes.lake.store import Store
from totes.load import load, record_checked
from totes.progress import QUIET, Progress
from totes.settings import Dsn
from totes.source.catalogue import Scope
from totes.transform import transform

log = logging.getLogger(__name__)

REST = 10
"""The pause after a capture is at least so many times its length: the source has other work."""

LONGEST_PAUSE_SECONDS = 60.0


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
    """One step: the stage that took it, the batch (None: nothing new), its rows."""

    stage: str
    batch: int | None
    rows: int
    at: datetime


def steps(
    pipeline: Pipeline, stage: str, accept: Accept = Accept(), progress: Progress = QUIET
) -> Iterator[Done]:
    """All that one stage has to do, batch by batch; stopping between two of them is safe."""
    if stage == "ingest":
        found = ingest(
            pipeline.source, pipeline.ingestion, pipeline.scope, accept=accept, progress=progress
        )
        batch = found.batch
        yield Done(stage, batch and batch.batch, batch.rows if batch else 0, found.checked_at)
    elif stage == "transform":
        for made in transform(pipeline.ingestion, pipeline.processed, progress=progress):
            yield Done(stage, made.batch, made.rows, made.captured_at)
    else:
        for loaded in load(pipeline.processed, pipeline.warehouse, progress=progress):
            yield Done(stage, loaded.batch, loaded.rows, loaded.captured_at)


STAGES = ("ingest", "transform", "load")


def run_once(
    pipeline: Pipeline, accept: Accept = Accept(), progress: Progress = QUIET
) -> Iterator[Done]:
    """Bring the warehouse up to the source; the first error ends it."""
    checked_at = None
    for stage in STAGES:
        for done in steps(pipeline, stage, accept, progress):
            if stage == "ingest":
                checked_at = done.at
            yield done
    if checked_at is not None:
        record_checked(pipeline.warehouse, checked_at)


@dataclass
class _Health:
    """How a stage has fared: a failing one waits longer and longer, the others go on."""

    failures: int = 0
    retry_at: float = 0.0
    told: str = field(default="")


def run(
    pipeline: Pipeline,
    every: timedelta,
    stop: Event,
    *,
    alert_command: str | None = None,
    watch: Callable[[Done], None] = lambda done: None,
    progress: Progress = QUIET,
) -> None:
    """Run until `stop` is set, which is looked at between batches and while pausing."""
    health = {stage: _Health() for stage in STAGES}
    while not stop.is_set():
        began = time.monotonic()
        checked_at = None
        capture_seconds = 0.0
        for stage in STAGES:
            if stop.is_set() or time.monotonic() < health[stage].retry_at:
                continue
            try:
                for done in steps(pipeline, stage, progress=progress):
                    watch(done)
                    if stage == "ingest":
                        checked_at = done.at
                    if stop.is_set():
                        return
                if stage == "load" and checked_at is not None:
                    record_checked(pipeline.warehouse, checked_at)
            except UsageError:
                raise
            except TotesError as error:
                _failed(stage, error, health[stage], alert_command)
            else:
                if health[stage].failures:
                    log.info("%s works again.", stage)
                health[stage] = _Health()
            if stage == "ingest":
                capture_seconds = time.monotonic() - began
        stop.wait(max(every.total_seconds(), REST * capture_seconds))


def _failed(stage: str, error: TotesError, health: _Health, command: str | None) -> None:
    health.failures += 1
    pause = min(2.0**health.failures, LONGEST_PAUSE_SECONDS)
    health.retry_at = time.monotonic() + pause
    log.error("%s failed, trying again in %d s: %s", stage, pause, error)
    if str(error) != health.told:  # once for each thing that is wrong, not for each try
        health.told = str(error)
        alert(command, {"stage": stage, "error": str(error), "exit_code": error.exit_code})
