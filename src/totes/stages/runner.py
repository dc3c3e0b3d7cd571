"""Runs the three stages in order: once, or continuously until stopped."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from types import MappingProxyType
from typing import Protocol

from totes.alert import AlertTargets, send_alert
from totes.config.dsn import Dsn
from totes.config.settings import DEFAULT_SOURCE_SHARE
from totes.error_policy import backoff_seconds, exit_code, find_policy, retry, retry_iterator
from totes.errors import TotesError, UsageError, WarehouseError
from totes.lake.manifest import File, ProcessedManifest
from totes.lake.store import Store
from totes.postgres.session import keep_sessions
from totes.progress import NO_PROGRESS, Progress
from totes.rates import RateFeed
from totes.source.catalogue import CaptureScope
from totes.source.log.reader import LogReader
from totes.stages.ingest import AcceptOptions, IngestResult, ingest, read_newest_manifest
from totes.stages.load import load, record_checked
from totes.stages.publish import BatchPublisher
from totes.stages.transform import Cluster, transform
from totes.star.folder import TOTESYS, Star
from totes.warehouse.connection import connect, is_database
from totes.warehouse.quarantine import count_waiting_rows
from totes.warehouse.schema import migrate

log = logging.getLogger(__name__)

MAX_REST_SECONDS = 60.0
"""The longest pause after a capture that spares the source: data must not become old."""

LONGEST_WAIT_SECONDS = 5.0
"""How long continuous mode waits for a transaction: "checked at" must not become old."""

_LOG_QUIET_SECONDS = 0.1
"""How long continuous mode waits for the log's last transactions; the next batch has later ones."""

FIRST_RETRY_PAUSE_SECONDS = 2.0
MAX_RETRY_PAUSE_SECONDS = 60.0

ACCEPT_NOTHING = AcceptOptions()

NO_ALERTS = AlertTargets()

NO_ROWS: Mapping[str, int] = MappingProxyType({})


class PipelineResources(Protocol):
    """The databases, stores and options of a pipeline; a stage reads only those that it needs."""

    @property
    def source(self) -> Dsn:
        """The source database, with a role that can only read it."""
        ...

    @property
    def scope(self) -> CaptureScope:
        """Which tables of the source to ingest."""
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
        """The warehouse, with the role that loads it."""
        ...

    @property
    def rates(self) -> RateFeed | None:
        """The exchange rates; with None, batches contain none."""
        ...

    @property
    def star(self) -> Star:
        """The star to build."""
        ...

    @property
    def log_reader(self) -> LogReader | None:
        """The source's write-ahead log; with None, tables are scanned."""
        ...

    @property
    def publisher(self) -> BatchPublisher | None:
        """What publishes batches as Iceberg tables; with None, nothing does."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """PipelineResources as plain values."""

    source: Dsn
    scope: CaptureScope
    ingestion: Store
    processed: Store
    warehouse: Dsn
    rates: RateFeed | None = None
    """With None, batches contain no exchange rates."""
    star: Star = TOTESYS
    log_reader: LogReader | None = None
    publisher: BatchPublisher | None = None


@dataclass(frozen=True)
class StepResult:
    """One batch in one stage: its rows and the size of its files; `batch` is None without changes.

    `quarantined` counts rows by star table. transform: rows that break the contract. load: rows
    that wait for a dimension row. `unreadable` counts, in ingest, rows with an unreadable value by
    source table.
    """

    stage: str
    batch: int | None
    rows: int
    at: datetime
    quarantined: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    scanned: bool = False
    """Whether ingest has scanned tables."""
    gap: str | None = None
    """Why versions between the previous batch and this one may be missing."""


def run_stage(
    pipeline: PipelineResources,
    stage: str,
    accept: AcceptOptions = ACCEPT_NOTHING,
    progress: Progress = NO_PROGRESS,
    *,
    cluster: Cluster | None = None,
) -> Iterator[StepResult]:
    """Process all pending batches of one stage and yield each result.

    The caller can stop after any batch; the next call continues with the batch that follows.
    """
    if stage == "ingest":
        result = ingest(
            pipeline.source,
            pipeline.ingestion,
            pipeline.scope,
            rates=pipeline.rates,
            log_reader=pipeline.log_reader,
            accept=accept,
            progress=progress,
        )
        yield ingest_step(result)
    elif stage == "transform":
        for manifest in transform(
            pipeline.ingestion,
            pipeline.processed,
            pipeline.star,
            cluster=cluster,
            progress=progress,
        ):
            yield transform_step(manifest)
    elif stage == PUBLISH:
        if pipeline.publisher is not None:
            for published in pipeline.publisher.publish(pipeline.processed, progress):
                yield StepResult(PUBLISH, published.batch, published.rows, published.captured_at)
    else:
        if not _migrate_empty_warehouse(pipeline):
            return
        for manifest in load(
            pipeline.processed, pipeline.warehouse, pipeline.star, progress=progress
        ):
            yield load_step(manifest, count_waiting_rows(pipeline.warehouse, manifest.batch))


def ingest_step(result: IngestResult) -> StepResult:
    """Return the result of a capture as a step."""
    if result.batch is None:
        return StepResult("ingest", None, 0, result.checked_at, scanned=result.has_scanned)
    files = [file for table in result.batch.tables for file in table.files]
    unreadable_rows = Counter[str]()
    for table in result.batch.tables:
        unreadable_rows[table.name] += sum(file.unreadable for file in table.files)
    return StepResult(
        "ingest",
        result.batch.batch,
        result.batch.rows,
        result.checked_at,
        unreadable=+unreadable_rows,
        size_bytes=_size_bytes(files),
        scanned=result.has_scanned,
        gap=result.batch.log.gap if result.batch.log else None,
    )


def transform_step(manifest: ProcessedManifest) -> StepResult:
    """Return a transformed batch as a step."""
    rejected_rows: Counter[str] = Counter()
    for file in manifest.rejected:
        rejected_rows[file.table] += file.rows
    return _processed_step("transform", manifest, rejected_rows)


def load_step(manifest: ProcessedManifest, waiting_rows: Mapping[str, int] = NO_ROWS) -> StepResult:
    """Return a loaded batch as a step; `waiting_rows` by star table wait for a dimension row."""
    return _processed_step("load", manifest, waiting_rows)


def _processed_step(
    stage: str, manifest: ProcessedManifest, quarantined_rows: Mapping[str, int]
) -> StepResult:
    size_bytes = _size_bytes((*manifest.files, *manifest.rejected))
    return StepResult(
        stage,
        manifest.batch,
        manifest.rows,
        manifest.captured_at,
        quarantined=quarantined_rows,
        size_bytes=size_bytes,
    )


def _size_bytes(files: Iterable[File]) -> int:
    return sum(file.bytes for file in files)


def _migrate_empty_warehouse(pipeline: PipelineResources) -> bool:
    """Create the tables of a warehouse that has no batch, also after an interrupted creation.

    A warehouse with batches is only migrated by `totes warehouse migrate`. Return False before the
    first capture: there is nothing to load, and the source, which must not be written to, is not
    known yet.
    """
    with connect(pipeline.warehouse) as connection:
        has_tables = connection.execute("SELECT to_regclass('totes.batches')").fetchone() != (None,)
        if (
            has_tables
            and connection.execute("SELECT FROM totes.batches LIMIT 1").fetchone() is not None
        ):
            return True
    if read_newest_manifest(pipeline.ingestion) is None:
        return False
    check_is_not_source(pipeline.ingestion, pipeline.warehouse)
    migrate(pipeline.warehouse, pipeline.star)
    return True


def check_is_not_source(ingestion: Store, warehouse: Dsn) -> None:
    """Raise WarehouseError if the warehouse is the database that the newest batch came from."""
    newest = read_newest_manifest(ingestion)
    if newest is None:
        return
    with connect(warehouse) as connection:
        if is_database(connection, newest[0].identity):
            raise WarehouseError(
                f"The warehouse {warehouse} is the source database, which is only read: name "
                "another database."
            )


STAGES = ("ingest", "transform", "load")

PUBLISH = "publish"
"""The step that follows these stages if batches are also published as Iceberg tables."""


def run_once(
    pipeline: Pipeline,
    accept: AcceptOptions = ACCEPT_NOTHING,
    progress: Progress = NO_PROGRESS,
) -> Iterator[StepResult]:
    """Run each stage once and yield each result; temporary errors are retried, others raised."""
    checked_at = None
    with keep_sessions():
        for stage in STAGES:
            for result in retry_iterator(partial(run_stage, pipeline, stage, accept, progress)):
                if stage == "ingest":
                    checked_at = result.at
                yield result
            if stage == "ingest" and pipeline.log_reader:
                pipeline.log_reader.close()  # another process may read the slot during the load
        if checked_at is not None:
            retry(partial(record_checked, pipeline.warehouse, checked_at))
        yield from retry_iterator(partial(run_stage, pipeline, PUBLISH, progress=progress))


def run(  # noqa: PLR0913  options of the command
    pipeline: Pipeline,
    every: timedelta,
    stop: Event,
    *,
    accept: AcceptOptions = ACCEPT_NOTHING,
    alert_targets: AlertTargets = NO_ALERTS,
    on_result: Callable[[StepResult], None] | None = None,
    progress: Progress = NO_PROGRESS,
    source_share: int = DEFAULT_SOURCE_SHARE,
    log_alarm_bytes: int | None = None,
) -> None:
    """Run all stages until `stop` is set, which is checked between batches and during pauses.

    The pause lasts for `every`. It is longer if scans would otherwise take more than `source_share`
    percent of the time, but then ends at most MAX_REST_SECONDS after the capture. If all tables are
    read from the log, the runner then waits for a transaction, at most LONGEST_WAIT_SECONDS. An
    alert is sent when the source retains more than `log_alarm_bytes` of its log for the slot.
    `accept` applies only to the first capture that succeeds. A stage that fails is retried after
    growing pauses, while the others continue; only UsageError is raised.
    """
    runner = _Runner(pipeline, stop, accept, alert_targets, on_result, progress)
    reader = pipeline.log_reader
    if reader:
        reader.quiet_seconds = _LOG_QUIET_SECONDS
    with keep_sessions():
        while not stop.is_set():
            began = time.monotonic()
            captured = runner.run_stages()
            if reader and log_alarm_bytes is not None:
                runner.check_retained_log(reader, log_alarm_bytes)
            share = (100 / source_share - 1) if runner.has_scanned else 0
            rest_seconds = min((captured - began) * share, MAX_REST_SECONDS)
            stop.wait(max(every.total_seconds(), captured + rest_seconds - time.monotonic()))
            if reader and not runner.has_scanned:
                reader.wait(LONGEST_WAIT_SECONDS, stop)


def log_failure(stage: str, error: Exception, action: str = "") -> str:
    """Log the failure of a stage, with its traceback if it was not expected; return the message."""
    is_expected = isinstance(error, TotesError)
    message = str(error) if is_expected else f"{type(error).__name__}: {error}"
    log.error("%s failed%s: %s", stage, action, message, exc_info=None if is_expected else error)
    return message


@dataclass
class StageHealth:
    """The current failures of one stage, and the messages that were sent as alerts."""

    failures: int = 0
    retry_at: float = 0.0
    alerted_messages: set[str] = field(default_factory=set)

    def record_failure(
        self, stage: str, error: Exception, alert_targets: AlertTargets, action: str = ""
    ) -> None:
        """Log a failure, and send an alert if its policy requires one; each message once."""
        self.failures += 1
        message = log_failure(stage, error, action)
        is_due = self.failures >= find_policy(error).alert_after
        if is_due and message not in self.alerted_messages:
            self.alerted_messages.add(message)
            code = exit_code(type(error))
            send_alert(alert_targets, {"stage": stage, "message": message, "exit_code": code})

    def record_success(self, stage: str) -> None:
        """Reset the failures, so that the same messages can be sent again."""
        if self.failures:
            log.info("%s works again.", stage)
            self.failures, self.alerted_messages = 0, set()


@dataclass
class _Runner:
    pipeline: Pipeline
    stop: Event
    accept: AcceptOptions
    alert_targets: AlertTargets
    on_result: Callable[[StepResult], None] | None
    progress: Progress
    health: Mapping[str, StageHealth] = field(
        default_factory=lambda: {stage: StageHealth() for stage in (*STAGES, PUBLISH)}
    )
    checked_at: datetime | None = None
    """Time of the last capture; None once a stage fails or is skipped after it."""
    has_scanned: bool = True
    """Whether the last capture has scanned tables, or failed."""
    _is_log_alerted: bool = False
    _last_gap: str | None = None

    def run_stages(self) -> float:
        """Run each stage once; return when the capture ended, by `time.monotonic()`."""
        self.checked_at, self.has_scanned = None, True
        self._try_stage("ingest")
        captured = time.monotonic()
        for stage in (*STAGES[1:], PUBLISH):
            self._try_stage(stage)
        return captured

    def check_retained_log(self, reader: LogReader, limit_bytes: int) -> None:
        """Send an alert when the source retains more of its log than the limit, once."""
        is_above = reader.retained_bytes > limit_bytes
        if is_above and not self._is_log_alerted:
            message = (
                f"The source retains {reader.retained_bytes / 1e6:,.0f} MB of its write-ahead log "
                f"for the replication slot {reader.slot}, more than TOTES_LOG_ALARM. A long "
                "transaction, or an ingest that does not keep up, delays its removal."
            )
            log.warning(message)
            send_alert(self.alert_targets, {"stage": "ingest", "message": message})
        self._is_log_alerted = is_above

    def _try_stage(self, stage: str) -> None:
        health = self.health[stage]
        if self.stop.is_set():
            return
        if time.monotonic() < health.retry_at:
            self.checked_at = None
            return
        try:
            self._run_stage(stage)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001  a full disk or a bug must not end the run either
            self.checked_at = None
            self._postpone(stage, error)
            return
        health.record_success(stage)

    def _run_stage(self, stage: str) -> None:
        for result in run_stage(self.pipeline, stage, self.accept, self.progress):
            if stage == "ingest":
                self.checked_at, self.accept = result.at, ACCEPT_NOTHING
                self.has_scanned = result.scanned
            if self.on_result:
                self.on_result(result)
            alert_of_step(self.alert_targets, self._without_known_gap(result))
            if self.stop.is_set():
                return
        if stage == "load" and self.checked_at is not None:
            record_checked(self.pipeline.warehouse, self.checked_at)

    def _without_known_gap(self, result: StepResult) -> StepResult:
        """Return a step without its gap if the batch before had the same: one alert is enough."""
        if result.stage != "ingest" or result.batch is None:
            return result
        is_known, self._last_gap = result.gap == self._last_gap, result.gap
        return replace(result, gap=None) if is_known else result

    def _postpone(self, stage: str, error: Exception) -> None:
        """Record a failure; each further one doubles the pause before the next attempt."""
        health = self.health[stage]
        pause_seconds = backoff_seconds(
            health.failures + 1, FIRST_RETRY_PAUSE_SECONDS, MAX_RETRY_PAUSE_SECONDS
        )
        health.retry_at = time.monotonic() + pause_seconds
        action = f", retrying in {pause_seconds:.0f} s"
        health.record_failure(stage, error, self.alert_targets, action)


def alert_of_step(alert_targets: AlertTargets, result: StepResult) -> None:
    """Log and send an alert if versions may be missing before a batch, or rows are quarantined."""
    alert_of_gap(alert_targets, result)
    if message := log_quarantined(result):
        send_alert(
            alert_targets,
            {
                "stage": result.stage,
                "batch": result.batch,
                "message": message,
                "quarantined": dict(result.quarantined),
                "unreadable": dict(result.unreadable),
            },
        )


def alert_of_gap(alert_targets: AlertTargets, result: StepResult) -> None:
    """Log and send an alert if versions may be missing before a batch."""
    if not result.gap:
        return
    message = (
        f"Batch {result.batch}: {result.gap}. All tables were scanned: row versions that were "
        "overwritten or deleted since the previous batch may be missing."
    )
    log.warning(message)
    send_alert(alert_targets, {"stage": result.stage, "batch": result.batch, "message": message})


def log_quarantined(result: StepResult) -> str:
    """Log which rows of a batch are quarantined or unreadable, and return the message.

    Empty without any.
    """
    if result.quarantined:
        rows = f"rows quarantined: {_count_by_table(result.quarantined)}"
    elif result.unreadable:
        rows = f"rows with unreadable values: {_count_by_table(result.unreadable)}"
    else:
        return ""
    message = f"Batch {result.batch}: {rows}. See `totes quarantine show`."
    log.warning(message)
    return message


def _count_by_table(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {table}" for table, count in sorted(rows.items()))
