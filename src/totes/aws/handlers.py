"""What Lambda calls: one stage, all that is pending, watched from outside.

The event is only a hint that something may be there to do: it is not looked at, so a lost one, a
doubled one and a schedule's are all the same. Nothing is decided here but when to stop.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from totes.alert import Alarm
from totes.config.resources import Places
from totes.config.settings import load_settings
from totes.lake.log import read_manifest
from totes.lake.manifest import manifest_path
from totes.operations.status import Freshness, freshness
from totes.policy import persistently, steadily
from totes.stages.load import record_checked
from totes.stages.runner import STAGES, Done, Health, steps, tell_refused

RESERVE_SECONDS = 60.0
LONGER = 1.5
"""No batch is begun with less time left than a minute, or than 1.5 times the longest so far.

One that is cut off is done anew by the next call: nothing is lost but the time, which is paid for.
Batches of one backlog are much alike, hence 1.5; the minute is for tries again, whose pauses and
connections' patience add up to about that much.
"""

NAMESPACE = "totes"

log = logging.getLogger("totes.aws")

logger = Logger(service="totes-lambda")

_health: Mapping[str, Health] = {stage: Health() for stage in STAGES}
"""Of the process, which Lambda keeps for many calls: so one thing that is wrong is told once."""


class Context(Protocol):
    """What Lambda says of a call, as far as it is asked here."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""
        ...


def ingest(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001  a hint
    """Capture what changed in totesys."""
    return _call("ingest", context)


def transform(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """Make the star's Parquet of pending batches."""
    return _call("transform", context)


def load(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """Load pending batches into the warehouse, and record how fresh it is."""
    return _call("load", context)


@dataclass
class _Call:
    """What a call has done so far."""

    stage: str
    batches: list[int] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0
    quarantined: int = 0
    stopped_early: bool = False
    lag_seconds: float | None = None
    longest_seconds: float = 0.0

    def add(self, done: Done, seconds: float) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        self.lag_seconds = _ago(done.at) if self.stage == "ingest" else None
        if done.batch is not None:
            self.batches.append(done.batch)
            self.rows += done.rows
            self.size_bytes += done.size_bytes
            self.quarantined += sum(done.refused.values())

    @property
    def answer(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "batches": self.batches,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "stopped_early": self.stopped_early,
        }


def _call(stage: str, context: Context) -> dict[str, Any]:
    """All that is pending of one stage, or as much as there is time for."""
    call, health = _Call(stage), _health[stage]
    alarm = Alarm(topic=os.environ.get("TOTES_ALERT_TOPIC"))  # the settings may be what is wrong
    with _logging(stage, context), _measured(call):
        try:
            with Places(load_settings()) as places:
                alarm = places.alarm
                _work(call, places, context)
                _look(call, places)
        except Exception as error:
            health.failed(stage, error, alarm)
            raise
        health.works(stage)
        log.info("%s is done.", stage, extra=call.answer)
    return call.answer


def _work(call: _Call, places: Places, context: Context) -> None:
    began = time.monotonic()
    with closing(steadily(partial(steps, places, call.stage, progress=_Batches()))) as at_work:
        for done in at_work:
            now = time.monotonic()
            call.add(done, now - began)
            began = now
            logger.set_correlation_id(str(done.batch) if done.batch else None)
            if done.batch is not None:
                log.info("%s: batch %d, %d rows.", call.stage, done.batch, done.rows)
            tell_refused(places.alarm, done)
            left = context.get_remaining_time_in_millis() / 1000
            if left < max(RESERVE_SECONDS, LONGER * call.longest_seconds):
                call.stopped_early = True
                log.info("%.0f s are left: the next call goes on.", left)
                return


def _look(call: _Call, places: Places) -> None:
    """How far behind the stage is, and what waits; load records it where analysts see it."""
    if call.stage == "transform":
        after = call.batches[-1] + 1 if call.stopped_early else 0
        pending = after and places.ingestion.exists(manifest_path(after))
        oldest = read_manifest(places.ingestion, after)[0].captured_at if pending else None
        call.lag_seconds = _ago(oldest) if oldest else 0.0
    if call.stage == "load":
        fresh: Freshness = persistently(partial(freshness, places.ingestion, places.warehouse))
        if fresh.checked_at is not None:
            persistently(partial(record_checked, places.warehouse, fresh.checked_at))
        call.lag_seconds = fresh.lag.total_seconds() if fresh.lag is not None else None
        call.quarantined = sum(count.rows for count in fresh.quarantine)


def _ago(moment: datetime) -> float:
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)


class _Batches:
    """Progress that tells each log line which batch it is about."""

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
        logger.set_correlation_id(str(batch) if batch else None)

    def advance(self, rows: int) -> None: ...


@contextmanager
def _logging(stage: str, context: Context) -> Iterator[None]:
    """Log lines as JSON objects: those of the whole package, each with its call and its batch."""
    logger.structure_logs(service=stage, request_id=getattr(context, "aws_request_id", None))
    copy_config_to_registered_loggers(logger, include={"totes"})
    try:
        yield
    finally:
        logger.clear_state()


@contextmanager
def _measured(call: _Call) -> Iterator[None]:
    """One line of metrics for each call, whatever becomes of it; CloudWatch reads them there."""
    began = time.monotonic()
    failed = True
    try:
        yield
        failed = False
    finally:
        metrics = EphemeralMetrics(
            namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE), service=call.stage
        )
        metrics.add_dimension("environment", os.environ.get("ENVIRONMENT", "none"))
        metrics.add_metric("Batches", MetricUnit.Count, len(call.batches))
        metrics.add_metric("Rows", MetricUnit.Count, call.rows)
        metrics.add_metric("Bytes", MetricUnit.Bytes, call.size_bytes)
        metrics.add_metric("DurationSeconds", MetricUnit.Seconds, time.monotonic() - began)
        metrics.add_metric("Failures", MetricUnit.Count, int(failed))
        if call.stage != "load" or not failed:
            metrics.add_metric("QuarantinedRows", MetricUnit.Count, call.quarantined)
        if call.lag_seconds is not None:
            metrics.add_metric("LagSeconds", MetricUnit.Seconds, call.lag_seconds)
        metrics.flush_metrics()
