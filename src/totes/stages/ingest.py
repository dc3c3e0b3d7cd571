"""Ingest: one capture of the source becomes one batch in the ingestion store.

Data files first, the manifest last and create-only: a batch exists when its manifest does.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from totes.config.settings import Dsn
from totes.engine import scratch_folder
from totes.errors import SourceError
from totes.failpoint import reach
from totes.lake.log import check_unused, newest, read_manifest
from totes.lake.manifest import (
    RATES,
    Former,
    Heartbeat,
    Manifest,
    RatesRead,
    Table,
    heartbeat_path,
    heartbeat_prefix,
    manifest_path,
)
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.rates import News, Rates
from totes.source.capture import Capture
from totes.source.catalogue import Scope, SourceTable
from totes.source.files import BatchFiles
from totes.source.snapshot import Snapshot, next_transaction, open_snapshot

log = logging.getLogger(__name__)

HEARTBEAT_EVERY = timedelta(minutes=10)

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Accept:
    """What an operator has allowed this once."""

    new_source: bool = False
    deletes: bool = False


@dataclass(frozen=True)
class Ingested:
    """What a look at the source found: a new batch, or none, as of `checked_at`."""

    batch: Manifest | None
    checked_at: datetime


def ingest(  # noqa: PLR0913  what is read, where it goes, and what an operator chooses
    source: Dsn,
    store: Store,
    scope: Scope,
    *,
    rates: Rates | None = None,
    accept: Accept = Accept(),
    progress: Progress = QUIET,
) -> Ingested:
    """Publish what changed in the source since the newest batch, and new exchange rates, if any."""
    while True:
        # Read before the snapshot is taken: a source whose clock is behind the batch's is then
        # another source, and not a snapshot older than a rival's batch.
        last = newest_batch(store)
        if rates:
            rates.refresh(_read(last[0]) if last else None)
        with open_snapshot(source, scope) as snapshot:
            ingested = capture_batch(
                snapshot, store, last, rates=rates, accept=accept, progress=progress
            )
        if ingested is not None:
            return ingested
        log.info("Another ingest published the next batch first: starting again behind it.")


def newest_batch(store: Store) -> tuple[Manifest, str] | None:
    """The newest manifest and its digest, None in an empty store."""
    number = newest(store, manifest_path)
    return read_manifest(store, number) if number else None


def capture_batch(  # noqa: PLR0913  as `ingest`
    snapshot: Snapshot,
    store: Store,
    last: tuple[Manifest, str] | None,
    *,
    rates: Rates | None = None,
    accept: Accept = Accept(),
    progress: Progress = QUIET,
) -> Ingested | None:
    """Publish the batch after `last` from an open snapshot; None where a rival was first."""
    before, digest = last or (None, None)
    batch = before.batch + 1 if before else 1
    progress.start("ingest", batch=batch)
    everything = before is not None and is_another_source(before, snapshot)
    if before and everything and not accept.new_source:
        raise SourceError(another_source(before, snapshot))
    _check_name(snapshot)
    captured_at = (
        max(snapshot.taken_at, before.captured_at + _TICK) if before else snapshot.taken_at
    )
    today = captured_at.astimezone(UTC).date()
    news = rates.news(_read(before) if before else None, today) if rates else None
    if before and not everything and not news and _stood_still(before, snapshot):
        return _nothing_new(store, before, snapshot)
    if before is None or _altered(before, snapshot):
        for name, reason in snapshot.catalogue.left_out:
            log.info("%s is left out: %s.", name, reason)
    with scratch_folder("totes-ingest-") as scratch:
        files = BatchFiles(store, scratch, batch, captured_at)
        capture = Capture(
            snapshot,
            files,
            accept_deletes=accept.deletes,
            progress=progress,
        )
        tables = capture.tables(before, everything=everything)
        of_rates = _rates(before.rates if before else None, news, files)
    reach("ingest.captured")
    snapshot.confirm()
    if before and not everything and not news and not _is_news(before, tables):
        return _nothing_new(store, before, snapshot)
    manifest = Manifest(
        batch=batch,
        previous=digest,
        captured_at=captured_at,
        snapshot=snapshot.text,
        identity=snapshot.identity,
        tables=(*tables, *of_rates),
        former=tuple(_former(before, tables, snapshot, batch)) if before else (),
        left_out=dict(snapshot.catalogue.left_out),
    )
    check_unused(store, manifest_path, batch)
    reach("ingest.before-manifest")
    if not store.create(manifest_path(batch), manifest.to_json()):
        return None
    reach("ingest.published")
    return Ingested(manifest, captured_at)


def last_heartbeat(store: Store, now: datetime) -> Heartbeat | None:
    """The newest heartbeat of the day before `now` or later."""
    for day in (now, now - timedelta(days=1)):
        if keys := list(store.list(heartbeat_prefix(day))):
            return Heartbeat.from_json(store.get(keys[-1]), keys[-1])
    return None


def _nothing_new(store: Store, before: Manifest, snapshot: Snapshot) -> Ingested:
    """Leave a heartbeat now and then, so that a quiet source is told from a dead platform."""
    now = snapshot.taken_at
    beat = last_heartbeat(store, now)
    told = max(before.captured_at, beat.checked_at) if beat else before.captured_at
    if now - told >= HEARTBEAT_EVERY:
        beat = Heartbeat(batch=before.batch, checked_at=now)
        reach("ingest.before-heartbeat")
        store.create(heartbeat_path(beat), beat.model_dump_json().encode())
        reach("ingest.heartbeat-left")
    return Ingested(None, now)


def _read(batch: Manifest) -> RatesRead | None:
    """How far a batch is with the exchange rates."""
    return batch.rates.rates if batch.rates else None


def _check_name(snapshot: Snapshot) -> None:
    """SourceError where the source has a table of the exchange rates' name."""
    if any(table.name == RATES for table in snapshot.catalogue.tables):
        raise SourceError(
            f"The source has a table {RATES}, a name that exchange rates have in the lake: exclude "
            "it (TOTES_EXCLUDE_TABLES), or rename it."
        )


def _rates(before: Table | None, news: News | None, files: BatchFiles) -> tuple[Table, ...]:
    """The table of exchange rates, where there are any: stored, or as it was."""
    if news is None:
        return (before.model_copy(update={"files": (), "whole": False}),) if before else ()
    lines = files.local("jsonl")
    news.write(lines)
    stored = files.put_lines(RATES, lines, rows=news.rows, deletes=len(news.deletes))
    return (news.table(before, stored),)


def _former(
    before: Manifest, tables: tuple[Table, ...], snapshot: Snapshot, batch: int
) -> Iterator[Former]:
    """The primary keys that the source had and has no more, so that none of their rows is lost."""
    now = {table.name: table.key for table in tables}
    unread = {"files": (), "whole": False, "repeats": None, "unreadable": None}
    lost = [
        Former(table=table.model_copy(update=unread), since=batch, reason="key")
        for table in before.captured
        if table.key
    ]
    excluded = snapshot.scope.exclude
    for former in (*before.former, *lost):
        name = former.table.name
        if name == RATES or now.get(name) == former.table.key:
            continue
        reason = "key" if name in now else "excluded" if name in excluded else "absent"
        yield former.model_copy(update={"reason": reason})


def _stood_still(before: Manifest, snapshot: Snapshot) -> bool:
    """No transaction began or ended since, and no table was altered: there is nothing to scan.

    With one running this can't be told: a standby's snapshot doesn't name those between.
    """
    idle = snapshot.xmin == snapshot.xmax
    return idle and before.snapshot == snapshot.text and not _altered(before, snapshot)


def _is_news(before: Manifest, tables: tuple[Table, ...]) -> bool:
    # A table without a key that was emptied is whole and has no files.
    return _shapes(before.captured) != _shapes(tables) or any(
        table.files or table.whole for table in tables
    )


def _altered(before: Manifest, snapshot: Snapshot) -> bool:
    return _shapes(before.captured) != _shapes(snapshot.catalogue.tables)


def _shapes(tables: Iterable[Table | SourceTable]) -> dict[str, str]:
    return {table.name: table.fingerprint for table in tables}


def is_another_source(before: Manifest, snapshot: Snapshot) -> bool:
    """Whether a snapshot is of another database than a batch, or of an earlier state of it."""
    same_database = snapshot.identity.model_copy(update={"database": ""}) == (
        before.identity.model_copy(update={"database": ""})
    )
    return not same_database or snapshot.xmax < next_transaction(before.snapshot)


def another_source(before: Manifest, snapshot: Snapshot) -> str:
    """What makes it another source, and what to do."""
    was, now = before.identity, snapshot.identity
    if now.system_identifier != was.system_identifier:
        reason = f"its server is {now.system_identifier}, batch {before.batch} came from "
        reason += was.system_identifier
    elif now.database_oid != was.database_oid:
        reason = f"its database is {now.database!r} (OID {now.database_oid}), batch "
        reason += f"{before.batch} came from {was.database!r} (OID {was.database_oid})"
    elif now.timeline != was.timeline:
        reason = f"its timeline is {now.timeline}, batch {before.batch} came from {was.timeline} "
        reason += "(a standby was promoted, or a backup restored)"
    else:
        reason = f"its transaction counter is behind batch {before.batch}'s (a backup restored, "
        reason += "or a standby that lags)"
    return (
        f"The source {snapshot.dsn} is not the one of the last batch: {reason}. If that is meant, "
        "run `totes ingest --accept-new-source`, which captures everything anew."
    )
