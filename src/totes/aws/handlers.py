"""The handlers of the Lambda functions: each runs one stage on all pending batches.

The handlers ignore their event: it is only a hint that there may be work. So an event that is lost,
or delivered twice, has no effect on the data.

A call fails only if a person must act. After a problem that passes by itself, the call reports a
metric, and the next call tries again. AWS counts failed calls. Alarms on this count and on the
metrics (terraform/modules/watch) send one mail when an incident begins and one when it ends.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from totes.aws.spark_jobs import LargeBatches, SparkApplication, SparkWork
from totes.config.resources import Resources
from totes.config.settings import load_settings
from totes.duckdb_engine import remove_dead_scratch_folders
from totes.error_policy import retry, retry_iterator
from totes.errors import LakeUnavailable, SourceUnavailable, TotesError, WarehouseUnavailable
from totes.lake.manifest import manifest_path
from totes.lake.manifests import read_manifest
from totes.operations.status import WarehouseHealth, read_warehouse_health
from totes.stages.load import record_checked
from totes.stages.runner import (
    StepResult,
    alert_of_gap,
    log_failure,
    log_quarantined,
    run_stage,
    transform_step,
)
from totes.stages.transform import transform as transform_batches

RESERVE_SECONDS = 60.0
LONGEST_BATCH_FACTOR = 1.5
"""A batch is not started with less than a minute left, or 1.5 times the longest batch of the call.

The next call repeats a batch that is cut off: only the time is lost. Batches of one backlog take
similar times, hence 1.5. The minute is for retries: their pauses and connection timeouts add up to
about that.
"""

NAMESPACE = "totes"

log = logging.getLogger("totes.aws")

logger = Logger(service="totes-lambda")

UNAVAILABLE_PARTS: Mapping[type[TotesError], str] = MappingProxyType(
    {SourceUnavailable: "source", WarehouseUnavailable: "warehouse", LakeUnavailable: "lake"}
)
"""Errors that pass without a person, after their retries, and the part that is unavailable.

They are the temporary ones of `totes.error_policy`. Secrets Manager counts as the database whose
login it has; `lake` is an object that another process is writing. Every other error fails the call:
an error of S3 that remains after boto3's retries is mostly a missing permission, key or bucket.
"""

DATABASES: Mapping[str, str] = MappingProxyType({"ingest": "source", "load": "warehouse"})
"""The database of a stage: a metric reports whether that is unavailable, for its alarm.

If the lake is unavailable for a long time, the warehouse becomes late, for which there is an
alarm, too.
"""


class Context(Protocol):
    """The part of Lambda's context that the handlers use."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""
        ...


def ingest(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001  only a hint
    """Capture the changes in totesys."""
    return _run_call("ingest", context)


def transform(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """Compute the star tables of pending batches."""
    return _run_call("transform", context)


def load(event: object, context: Context) -> dict[str, Any]:  # noqa: ARG001
    """Load pending batches into the warehouse, and record its health."""
    return _run_call("load", context)


@dataclass
class _CallProgress:
    """What a call has done so far."""

    stage: str
    batches: list[int] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0
    quarantined: int = 0
    stopped_early: bool = False
    unavailable: str | None = None
    lag_seconds: float | None = None
    health: WarehouseHealth | None = None
    """What a load has found out about the warehouse."""
    large: LargeBatches | None = None
    """In transform, the batches that are too large for a function."""
    spark: SparkWork | None = None
    """The pending batch that Spark transforms, or has failed to transform too often."""
    longest_seconds: float = 0.0

    def add(self, result: StepResult, seconds: float) -> None:
        self.longest_seconds = max(self.longest_seconds, seconds)
        self.lag_seconds = _seconds_since(result.at) if self.stage == "ingest" else None
        if result.batch is not None:
            self.batches.append(result.batch)
            self.rows += result.rows
            self.size_bytes += result.size_bytes
            for rows in (result.quarantined, result.unreadable):
                self.quarantined += sum(rows.values())

    @property
    def response(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "batches": self.batches,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "stopped_early": self.stopped_early,
            "unavailable": self.unavailable,
            "spark": self.spark and {"batch": self.spark.batch, "job": self.spark.job},
        }


def _run_call(stage: str, context: Context) -> dict[str, Any]:
    """Run one stage on all pending batches, or on as many as there is time for."""
    call = _CallProgress(stage)
    with _log_as_json(stage, context), _log_metrics(call):
        try:
            # Lambda keeps /tmp after a call that it has ended for time or memory.
            remove_dead_scratch_folders()
            with Resources(load_settings()) as resources:
                if stage == "transform":
                    call.large = _large_batches(resources)
                _run_pending(call, resources, context)
                if call.large and call.large.found and not call.stopped_early:
                    call.spark = call.large.hand_over(call.large.found)
                _measure_freshness(call, resources)
        except Exception as error:
            call.unavailable = _unavailable_part(error)
            if call.unavailable is None:
                log_failure(stage, error)
                raise
            log.warning("%s can't go on, the %s is unavailable: %s", stage, call.unavailable, error)
        else:
            log.info("%s is done.", stage, extra=call.response)
    return call.response


def _unavailable_part(error: Exception) -> str | None:
    return next((part for kind, part in UNAVAILABLE_PARTS.items() if isinstance(error, kind)), None)


def _large_batches(resources: Resources) -> LargeBatches | None:
    """Return the batches that are left to Spark; None without Spark."""
    settings = resources.settings
    if application := SparkApplication.from_settings(settings):
        return LargeBatches(
            application,
            resources.ingestion,
            resources.processed,
            settings.spark_min_size * 1_000_000,
        )
    return None


def _steps(call: _CallProgress, resources: Resources) -> Iterator[StepResult]:
    """Process all pending batches of a stage, up to one that is for Spark."""
    progress = _BatchInLogLines()
    if call.large is None:
        return run_stage(resources, call.stage, progress=progress)
    batches = transform_batches(
        resources.ingestion,
        resources.processed,
        resources.star,
        stop_before=call.large.is_large,
        progress=progress,
    )
    return map(transform_step, batches)


def _run_pending(call: _CallProgress, resources: Resources, context: Context) -> None:
    began = time.monotonic()
    with closing(retry_iterator(partial(_steps, call, resources))) as results:
        for result in results:
            now = time.monotonic()
            call.add(result, now - began)
            began = now
            logger.set_correlation_id(str(result.batch) if result.batch else None)
            if result.batch is not None:
                log.info("%s: batch %d, %d rows.", call.stage, result.batch, result.rows)
            log_quarantined(result)  # an alarm on the number of rows sends the mail
            if result.gap != _gap_before(result, resources):
                alert_of_gap(resources.alert_targets, result)
            remaining_seconds = context.get_remaining_time_in_millis() / 1000
            needed_seconds = max(RESERVE_SECONDS, LONGEST_BATCH_FACTOR * call.longest_seconds)
            if remaining_seconds < needed_seconds:
                call.stopped_early = True
                log.info("%.0f s are left: the next call continues.", remaining_seconds)
                return


def _gap_before(result: StepResult, resources: Resources) -> str | None:
    """Return the gap of the previous batch: one mail is enough for batches with the same gap."""
    if result.batch is None or result.batch == 1 or not result.gap:
        return None
    previous, _ = read_manifest(resources.ingestion, result.batch - 1)
    return previous.log.gap if previous.log else None


def _measure_freshness(call: _CallProgress, resources: Resources) -> None:
    """Measure the stage's lag and the quarantine; load also records when the source was checked."""
    if call.stage == "transform":
        call.lag_seconds = 0.0
        if call.stopped_early or call.spark:
            next_batch = call.spark.batch if call.spark else call.batches[-1] + 1
            if resources.ingestion.exists(manifest_path(next_batch)):
                manifest, _ = read_manifest(resources.ingestion, next_batch)
                call.lag_seconds = _seconds_since(manifest.captured_at)
    if call.stage == "load":
        health: WarehouseHealth = retry(
            partial(read_warehouse_health, resources.ingestion, resources.warehouse)
        )
        if health.checked_at is not None:
            retry(partial(record_checked, resources.warehouse, health.checked_at))
        call.health = health
        call.lag_seconds = health.lag_seconds
        call.quarantined = sum(count.rows for count in health.quarantine)
        call.quarantined += sum(count.values for count in health.unreadable)


def _seconds_since(moment: datetime) -> float:
    return max((datetime.now(UTC) - moment).total_seconds(), 0.0)


class _BatchInLogLines:
    """Progress that adds the current batch to each log line."""

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
        logger.set_correlation_id(str(batch) if batch else None)

    def advance(self, rows: int) -> None: ...


@contextmanager
def _log_as_json(stage: str, context: Context) -> Iterator[None]:
    """Log the package's lines as JSON objects with stage, request and batch."""
    logger.structure_logs(service=stage, request_id=getattr(context, "aws_request_id", None))
    copy_config_to_registered_loggers(logger, include={"totes"})
    try:
        yield
    finally:
        logger.clear_state()


@contextmanager
def _log_metrics(call: _CallProgress) -> Iterator[None]:
    """Log one line of metrics for each call, also for one that fails; CloudWatch reads it."""
    began = time.monotonic()
    try:
        yield
    finally:
        metrics = EphemeralMetrics(
            namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", NAMESPACE), service=call.stage
        )
        metrics.add_dimension("environment", os.environ.get("ENVIRONMENT", "none"))
        metrics.add_metric("Batches", MetricUnit.Count, len(call.batches))
        metrics.add_metric("Rows", MetricUnit.Count, call.rows)
        metrics.add_metric("Bytes", MetricUnit.Bytes, call.size_bytes)
        metrics.add_metric("DurationSeconds", MetricUnit.Seconds, time.monotonic() - began)
        if database := DATABASES.get(call.stage):
            name = f"{database.title()}Unavailable"
            metrics.add_metric(name, MetricUnit.Count, int(call.unavailable == database))
        if call.lag_seconds is not None:
            metrics.add_metric("LagSeconds", MetricUnit.Seconds, call.lag_seconds)
        if call.large is not None:
            work = call.spark or SparkWork(0, None, 0, 0.0)
            metrics.add_metric("SparkFailures", MetricUnit.Count, work.failures)
            metrics.add_metric("SparkMinutes", MetricUnit.NoUnit, work.minutes)
        if call.health is not None:
            metrics.add_metric("QuarantinedRows", MetricUnit.Count, call.quarantined)
            _add_verify_and_rates(metrics, call.health)
        metrics.flush_metrics()


def _add_verify_and_rates(metrics: EphemeralMetrics, health: WarehouseHealth) -> None:
    """Add result and age of the last verify, or the warehouse's age, and the days without rates."""
    verified_at = health.first_loaded_at
    if health.verified is not None:
        verified_at = health.verified.verified_at
        metrics.add_metric("VerifyDiffers", MetricUnit.Count, int(not health.verified.equal))
    if verified_at is not None:
        hours = (health.now - verified_at) / timedelta(hours=1)
        metrics.add_metric("HoursSinceVerify", MetricUnit.NoUnit, hours)
    if health.rates_day is not None:
        from totes.rates.ecb import missing_days  # noqa: PLC0415  most runs have no rates

        days = missing_days(health.rates_day, health.now)
        metrics.add_metric("RatesMissingDays", MetricUnit.Count, days)
