"""Ingest: writes one capture of the source as one batch to the ingestion store.

Data files are stored first and the manifest last, with a create-only put: a batch exists when its
manifest exists.
"""

# ruff: noqa: PLC0415  most captures find no changes: imports would only cost time

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from totes.config.dsn import Dsn
from totes.duckdb_engine import scratch_folder
from totes.errors import LogBehind, LogUnreadable, SourceError
from totes.failpoint import reach
from totes.lake.lsn import format_lsn, parse_lsn
from totes.lake.manifest import (
    FORMAT,
    LOG_FORMAT,
    RATES,
    UNCHANGED,
    FormerTable,
    Heartbeat,
    LogState,
    Manifest,
    RatesState,
    Table,
    heartbeat_path,
    log_position_path,
    manifest_path,
)
from totes.lake.manifests import (
    check_number_unused,
    find_last_heartbeat,
    find_log_position,
    find_newest_number,
    read_manifest,
)
from totes.lake.store import Store
from totes.progress import NO_PROGRESS, Progress
from totes.rates import RateFeed, RatesUpdate
from totes.source.catalogue import CaptureScope, SourceTable
from totes.source.snapshot import Snapshot, VisibleTransactions, open_snapshot, snapshot_xmax

if TYPE_CHECKING:
    from totes.source.files import BatchFiles
    from totes.source.log.capture import LogCapture
    from totes.source.log.reader import LogReader, LogStart

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = timedelta(minutes=10)

_TICK = timedelta(microseconds=1)

_seen: dict[str, str] = {}
"""The newest snapshot that had no changes after a batch, by the digest of the batch's manifest."""


@dataclass(frozen=True)
class AcceptOptions:
    """The changes of the source that an operator accepts for one capture."""

    new_source: bool = False
    deletes: bool = False


@dataclass(frozen=True)
class IngestResult:
    """A new batch, or None if the source had no changes.

    All changes up to `checked_at` are in the batches. `is_complete`: they have everything that the
    capture's snapshot sees. `has_scanned`: tables were scanned, which keeps the source busy.
    """

    batch: Manifest | None
    checked_at: datetime
    is_complete: bool = True
    has_scanned: bool = True


def ingest(  # noqa: PLR0913  source, store and the options of the command
    source: Dsn,
    store: Store,
    scope: CaptureScope,
    *,
    rates: RateFeed | None = None,
    log_reader: "LogReader | None" = None,
    accept: AcceptOptions = AcceptOptions(),
    progress: Progress = NO_PROGRESS,
) -> IngestResult:
    """Publish all changes of the source, and new exchange rates, since the newest batch.

    With `log_reader`, tables are read from the write-ahead log as far as that has all of their
    changes. Raises SourceError if the source can't be read, or if it needs an option of `accept`.
    """
    while True:
        try:
            with open_capture(source, store, scope, rates, log_reader) as capture:
                result = capture_batch(
                    capture, store, rates=rates, accept=accept, progress=progress
                )
        except LogUnreadable as error:
            log.warning("%s The replication slot is re-created and all tables are scanned.", error)
            continue
        if result is not None:
            return result
        log.info("Another ingest has published the next batch: starting again after that batch.")


@dataclass(frozen=True)
class OpenCapture:
    """An open snapshot of the source; the newest batch, with its digest; where the log begins.

    Without `log_start`, all tables are scanned; `gap` says why, if the log was read before.
    """

    snapshot: Snapshot
    last: tuple[Manifest, str] | None
    log_start: "LogStart | None"
    gap: str | None = None


@contextmanager
def open_capture(
    source: Dsn,
    store: Store,
    scope: CaptureScope,
    rates: RateFeed | None = None,
    log_reader: "LogReader | None" = None,
) -> Iterator[OpenCapture]:
    """Open a capture of the batch that follows the newest one."""
    if log_reader:
        log_reader.wait_for_slot()
    # Read before the snapshot is taken: a snapshot that is older than this batch is then one of a
    # different source, and never one that a concurrent batch has overtaken.
    last = read_newest_manifest(store)
    if rates:
        rates.refresh(_rates_state(last[0]) if last else None)
    log_start = log_reader.start(last and last[0], store) if log_reader else None
    with open_snapshot(source, scope) as snapshot:
        yield OpenCapture(snapshot, last, log_start, log_reader.gap if log_reader else None)


def read_newest_manifest(store: Store) -> tuple[Manifest, str] | None:
    """Return the newest manifest and its digest; None for an empty store."""
    number = find_newest_number(store, manifest_path)
    return read_manifest(store, number) if number else None


def capture_batch(
    capture: OpenCapture,
    store: Store,
    *,
    rates: RateFeed | None = None,
    accept: AcceptOptions = AcceptOptions(),
    progress: Progress = NO_PROGRESS,
) -> IngestResult | None:
    """Publish the batch of an open capture; None if another process published it first.

    Raises SourceError if the source has changed in a way that is not accepted.
    """
    result, must_close = None, True
    try:
        result = _capture_batch(capture, store, rates, accept, progress)
    except LogBehind:
        must_close = False
        raise
    finally:
        # What was read and not published is read again, from the position that is confirmed.
        if result is None and must_close and capture.log_start:
            capture.log_start.reader.close()
    return result


def _capture_batch(
    capture: OpenCapture,
    store: Store,
    rates: RateFeed | None,
    accept: AcceptOptions,
    progress: Progress,
) -> IngestResult | None:
    snapshot, log_start = capture.snapshot, capture.log_start
    previous, digest = capture.last or (None, None)
    batch = previous.batch + 1 if previous else 1
    progress.start("ingest", batch=batch)
    is_different = previous is not None and is_different_source(previous, snapshot)
    if previous and is_different and not accept.new_source:
        raise SourceError(different_source_message(previous, snapshot))
    if is_different and log_start:
        log_start.reader.close()  # it reads the log of another source; the next batch reopens it
        log_start = None
    _check_rates_name(snapshot)
    captured_at = (
        max(snapshot.taken_at, previous.captured_at + _TICK) if previous else snapshot.taken_at
    )
    today = captured_at.astimezone(UTC).date()
    update = (
        rates.find_update(_rates_state(previous) if previous else None, today) if rates else None
    )
    begins_log = log_start is not None and log_start.transactions is None
    can_be_empty = previous is not None and not (is_different or update or begins_log)
    if previous and can_be_empty and _is_unchanged(previous, _seen.get(digest or ""), snapshot):
        return _record_no_changes(store, previous, snapshot, log_start)
    from totes.source.files import BatchFiles

    if previous is None or _has_altered_tables(previous, snapshot):
        for name, reason in snapshot.catalogue.excluded:
            log.info("%s is left out: %s.", name, reason)
    with scratch_folder("ingest") as scratch:
        files = BatchFiles(store, scratch, batch, captured_at)
        captured = _capture_tables(
            snapshot,
            previous,
            log_start,
            files,
            accept_deletes=accept.deletes,
            everything=is_different,
            progress=progress,
        )
        rates_tables = _store_rates(previous.rates if previous else None, update, files)
    reach("ingest.captured")
    if captured.scanned:
        snapshot.check_unchanged()
    tables = captured.tables
    if previous and digest and can_be_empty and not _has_changes(previous, tables):
        _seen.clear()
        _seen[digest] = captured.snapshot
        return _record_no_changes(
            store,
            previous,
            snapshot,
            log_start,
            is_complete=captured.is_complete,
            has_scanned=bool(captured.scanned),
        )
    manifest = Manifest(
        format=LOG_FORMAT if any(table.of_log for table in tables) else FORMAT,
        batch=batch,
        previous=digest,
        captured_at=captured.capture_time(captured_at, has_rates=bool(update)),
        snapshot=captured.snapshot,
        identity=snapshot.identity,
        tables=(*tables, *rates_tables),
        former=tuple(_former_tables(previous, tables, snapshot, batch)) if previous else (),
        left_out=dict(snapshot.catalogue.excluded),
        log=None if is_different else _log_state(store, previous, capture, captured.logged),
    )
    check_number_unused(store, manifest_path, batch)
    reach("ingest.before-manifest")
    if not store.create(manifest_path(batch), manifest.to_json()):
        return None
    reach("ingest.published")
    if log_start and manifest.log:
        log_start.reader.confirm(parse_lsn(manifest.log.position))
        reach("log.confirmed")
    return IngestResult(
        manifest,
        manifest.captured_at if captured.scanned or not captured.is_complete else snapshot.taken_at,
        is_complete=captured.is_complete,
        has_scanned=bool(captured.scanned),
    )


@dataclass(frozen=True)
class _CapturedTables:
    """The tables of a batch, by name: those in `scanned`, and those read from the log.

    `snapshot` is the one that the manifest will have.
    """

    tables: tuple[Table, ...]
    scanned: frozenset[str]
    logged: "LogCapture | None"
    snapshot: str

    @property
    def is_complete(self) -> bool:
        """Whether the batch has everything that the capture's snapshot sees."""
        return self.logged is None or self.logged.is_complete

    def capture_time(self, taken_at: datetime, *, has_rates: bool) -> datetime:
        """Return the capture time of the batch: its last commit if all rows are from the log."""
        if self.logged is None or not self.logged.xids:
            return taken_at
        has_scanned_rows = any(table.files for table in self.tables if table.name in self.scanned)
        last = self.logged.captured_at
        return max(last, taken_at) if has_scanned_rows or has_rates else last


def _capture_tables(  # noqa: PLR0913  as `capture_batch`
    snapshot: Snapshot,
    previous: Manifest | None,
    log_start: "LogStart | None",
    files: "BatchFiles",
    *,
    accept_deletes: bool,
    everything: bool,
    progress: Progress,
) -> _CapturedTables:
    """Store what changed since `previous`: from the log as far as that has it, else by scans."""
    tables: dict[str, Table] = {}
    logged = None
    if previous and log_start and log_start.transactions:
        from totes.source.log.capture import LogCapture

        with closing(LogCapture(snapshot, previous, log_start, files, progress)) as logged:
            logged.read(log_start.transactions)
            reach("log.read")
            tables = logged.store_tables()
            reach("log.stored")
    to_scan = [table for table in snapshot.catalogue.tables if table.name not in tables]
    if to_scan:
        from totes.source.capture import Capture

        capture = Capture(snapshot, files, accept_deletes=accept_deletes, progress=progress)
        scanned = capture.capture_tables(to_scan, previous, everything=everything)
        tables |= _add_log_coverage(scanned, snapshot, previous, log_start)
    return _CapturedTables(
        tables=tuple(tables[name] for name in sorted(tables)),
        scanned=frozenset(table.name for table in to_scan),
        logged=logged,
        snapshot=logged.snapshot if logged else snapshot.text,
    )


def _add_log_coverage(
    scanned: Iterable[Table],
    snapshot: Snapshot,
    previous: Manifest | None,
    log_start: "LogStart | None",
) -> dict[str, Table]:
    """Return scanned tables by name, with what the next batch needs to read them from the log."""
    if log_start:
        coverage = log_start.describe_coverage(snapshot, previous)
    else:  # a later batch may continue where the log was read to
        entries = previous.source_tables if previous else ()
        coverage = {table.name: table.log_coverage for table in entries}
    return {
        table.name: table.model_copy(update={"log_coverage": coverage.get(table.name)})
        for table in scanned
    }


def _log_state(
    store: Store, previous: Manifest | None, capture: OpenCapture, logged: "LogCapture | None"
) -> LogState | None:
    """Return how far the log has been read after a batch."""
    if log_start := capture.log_start:
        return LogState(
            slot=log_start.reader.slot,
            position=format_lsn(log_start.position),
            ahead=logged.ahead if logged else (),
            gap=log_start.gap,
        )
    position = find_log_position(store, previous) if previous else None
    if previous is None or previous.log is None or position is None:
        return None
    update = {"position": format_lsn(position), "ahead": (), "gap": capture.gap}
    return previous.log.model_copy(update=update)


def _record_no_changes(  # noqa: PLR0913  what was found, and where it is recorded
    store: Store,
    previous: Manifest,
    snapshot: Snapshot,
    log_start: "LogStart | None",
    *,
    is_complete: bool = True,
    has_scanned: bool = False,
) -> IngestResult:
    """Store a heartbeat, at most every HEARTBEAT_INTERVAL: it shows that the source was checked.

    Also store the position up to which the log has no changes, so that the source need not keep the
    log before it. `is_complete`: the check included everything that the snapshot sees.
    """
    now = snapshot.taken_at
    heartbeat = find_last_heartbeat(store, now)
    last_checked_at = (
        max(previous.captured_at, heartbeat.checked_at) if heartbeat else previous.captured_at
    )
    is_due = now - last_checked_at >= HEARTBEAT_INTERVAL
    if is_complete and is_due:
        heartbeat = Heartbeat(batch=previous.batch, checked_at=now)
        reach("ingest.before-heartbeat")
        store.create(heartbeat_path(heartbeat), heartbeat.to_json())
        reach("ingest.heartbeat-stored")
    if is_complete and log_start and (is_due or log_start.should_confirm):
        position = log_start.position
        reach("log.before-position")
        store.create(log_position_path(previous.batch, position), b"{}\n")
        reach("log.position-stored")
        log_start.reader.confirm(position)
    return IngestResult(
        None,
        now if is_complete else previous.captured_at,
        is_complete=is_complete,
        has_scanned=has_scanned,
    )


def _rates_state(batch: Manifest) -> RatesState | None:
    """Return which exchange rates the batches up to this one contain."""
    return batch.rates.rates if batch.rates else None


def _check_rates_name(snapshot: Snapshot) -> None:
    """Raise SourceError if the source has a table with the reserved name of the exchange rates."""
    if any(table.name == RATES for table in snapshot.catalogue.tables):
        raise SourceError(
            f"The source has a table {RATES}, a name that the lake reserves for exchange rates: "
            "exclude it with TOTES_EXCLUDE_TABLES, or rename it."
        )


def _store_rates(
    previous: Table | None, update: RatesUpdate | None, files: "BatchFiles"
) -> tuple[Table, ...]:
    """Store new exchange rates; return the entry of their table, or nothing if there is none."""
    if update is None:
        return (previous.model_copy(update=UNCHANGED),) if previous else ()
    path = files.new_path("jsonl")
    update.write(path)
    stored = files.put_lines(RATES, path, rows=update.rows, deletes=len(update.deletes))
    return (update.to_table(previous, stored),)


def _former_tables(
    previous: Manifest, tables: tuple[Table, ...], snapshot: Snapshot, batch: int
) -> Iterator[FormerTable]:
    """Yield tables that the source no longer has with that primary key.

    Their live keys are needed if such a table comes back: they show which rows were deleted in
    between.
    """
    current_keys = {table.name: table.key for table in tables}
    without_files = {**UNCHANGED, "unreadable": None}
    candidates = [
        FormerTable(table=table.model_copy(update=without_files), since=batch, reason="key")
        for table in previous.source_tables
        if table.key
    ]
    excluded = snapshot.scope.exclude
    for former in (*previous.former, *candidates):
        name = former.table.name
        if name == RATES or current_keys.get(name) == former.table.key:
            continue
        reason = "key" if name in current_keys else "excluded" if name in excluded else "absent"
        yield former.model_copy(update={"reason": reason})


def _is_unchanged(previous: Manifest, seen: str | None, snapshot: Snapshot) -> bool:
    """Return whether no transaction began or ended, and no table was altered, since `previous`.

    `seen` is a later snapshot without changes. While a transaction runs, the result is false: a
    standby's snapshot does not list all transactions.
    """
    is_idle = snapshot.xmin == snapshot.xmax
    is_same = is_idle and snapshot.text in {previous.snapshot, seen}
    return is_same and not _has_altered_tables(previous, snapshot)


def _has_changes(previous: Manifest, tables: tuple[Table, ...]) -> bool:
    log_coverage = {table.name: table.log_coverage for table in previous.source_tables}
    if any(table.log_coverage != log_coverage.get(table.name) for table in tables):
        return True  # otherwise each later batch would scan the table
    # A table without a primary key that was emptied is captured in full, and has no files.
    return _fingerprints(previous.source_tables) != _fingerprints(tables) or any(
        table.files or table.whole for table in tables
    )


def _has_altered_tables(previous: Manifest, snapshot: Snapshot) -> bool:
    return _fingerprints(previous.source_tables) != _fingerprints(snapshot.catalogue.tables)


def _fingerprints(tables: Iterable[Table | SourceTable]) -> dict[str, str]:
    return {table.name: table.fingerprint for table in tables}


def is_different_source(previous: Manifest, snapshot: Snapshot) -> bool:
    """Return whether a snapshot is from a different database, or from an older state of it."""
    is_same_database = snapshot.identity.is_same(previous.identity)
    if not is_same_database or snapshot.xmax < snapshot_xmax(previous.snapshot):
        return True
    sees = VisibleTransactions(snapshot.text).sees
    return previous.log is not None and not all(map(sees, previous.log.ahead))


def different_source_message(previous: Manifest, snapshot: Snapshot) -> str:
    """Return an error message: how the source differs from the last batch's, and what to do."""
    old, new = previous.identity, snapshot.identity
    batch = f"batch {previous.batch}"
    if new.system_identifier != old.system_identifier:
        reason = f"its server is {new.system_identifier}, {batch} came from {old.system_identifier}"
    elif new.database_oid != old.database_oid:
        reason = (
            f"its database is {new.database!r} (OID {new.database_oid}), {batch} came from "
            f"{old.database!r} (OID {old.database_oid})"
        )
    elif new.timeline != old.timeline:
        reason = (
            f"its timeline is {new.timeline}, {batch} came from {old.timeline} (a standby was "
            "promoted, or a backup restored)"
        )
    else:
        reason = (
            f"its transaction counter is behind that of {batch} (a backup was restored, or a "
            "standby lags)"
        )
    return (
        f"The source {snapshot.dsn} is not the database of the last batch: {reason}. Correct the "
        "DSN, or run `totes ingest --accept-new-source`, which captures everything again."
    )
