"""The log of one source as the batches of one lake read it: the slot, its lock and its stream.

Only one process at a time can read a slot. Each process waits for an advisory lock in the source; a
process that reads continuously releases the lock when another one waits.
"""

import logging
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event

import psycopg
from psycopg import errors, sql

from totes.config.dsn import Dsn
from totes.errors import LogUnreadable, SourceError, SourceUnavailable
from totes.failpoint import reach
from totes.lake.manifest import LogCoverage, Manifest, slot_path
from totes.lake.manifests import find_log_position
from totes.lake.store import Store
from totes.postgres.session import SOURCE, Session, open_session
from totes.postgres.sqlstate import can_retry, message
from totes.source.log.coverage import BeforeSlot, describe_coverage
from totes.source.log.publication import (
    PublishedTable,
    read_publication,
)
from totes.source.log.slot import SlotState, read_slot
from totes.source.log.slot_creation import SlotBlocked, create_slot
from totes.source.log.stream import LogStream
from totes.source.log.transactions import TransactionReader
from totes.source.session import SETTINGS, connect, source_errors
from totes.source.snapshot import Snapshot

log = logging.getLogger(__name__)

LOG_TIMEOUT_SECONDS = 20.0
"""How long to wait for the log's last transactions.

An idle server may write the log of an open transaction to disk only every 15 seconds.
"""

_LOCK_TIMEOUT = "60s"

_BUSY_SECONDS = 15.0
"""How long to wait for a slot in use: the server ends a killed reader after wal_sender_timeout."""

_CREATE_TIMEOUT_SECONDS = 5.0

_PAUSE_AFTER_BLOCKED_SECONDS = 60.0

_WAIT_STEP_SECONDS = 1.0

_PERMANENT_ERRORS = ("55000", "42704", "58P01", "22")
"""Beginnings of SQLSTATEs: the slot is lost, an object or the log is missing, or a value is
invalid."""

_MAX_ERRORS = 3
"""After this many other errors in succession, the slot is created again."""

_STALE_SECONDS = 8.0
"""A stream that was not read for longer is opened again: the server may have ended it."""

_CONFIRM_BYTES = 64 << 20
"""After this much log without changes, its position is stored and confirmed."""


@dataclass(frozen=True)
class LogStart:
    """Where a batch begins to read the log.

    If `transactions` is None, the slot is new and the log has nothing for this batch: the batch
    scans all tables, and the next batch reads the log. `gap` says why versions before this batch
    may be missing.
    `recorded` is the position up to which the lake has all changes. `before_slot` is given if the
    slot was created for this batch.
    """

    reader: "LogReader"
    recorded: int
    transactions: TransactionReader | None
    gap: str | None = None
    before_slot: BeforeSlot | None = None

    @property
    def position(self) -> int:
        """The position up to which all transactions were read."""
        read = self.transactions.settled_position if self.transactions else 0
        return max(self.recorded, read)

    @property
    def should_confirm(self) -> bool:
        """Whether the server still keeps _CONFIRM_BYTES of the log that has been read."""
        return self.position - self.recorded >= _CONFIRM_BYTES

    def read_publication(self, snapshot: Snapshot) -> dict[str, PublishedTable]:
        """Return which of the snapshot's tables are published, and how."""
        tables = snapshot.catalogue.tables
        return read_publication(snapshot.connection, self.reader.publication, tables)

    def describe_coverage(
        self, snapshot: Snapshot, previous: Manifest | None
    ) -> dict[str, LogCoverage | None]:
        """Return for each table of a snapshot since when the log has all of its changes."""
        published = self.read_publication(snapshot)
        return describe_coverage(snapshot, previous, published, self.before_slot)


class LogReader:
    """Reads the log of a source, batch after batch.

    quiet_seconds: how long the server may be silent before a batch leaves out transactions that
    are committed, but not yet written to the log.
    """

    def __init__(
        self, dsn: Dsn, slot: str, publication: str, quiet_seconds: float = LOG_TIMEOUT_SECONDS
    ) -> None:
        self.dsn = dsn
        self.slot = slot
        self.publication = publication
        self.quiet_seconds = quiet_seconds
        self.retained_bytes = 0
        """The size of the log that the server keeps for the slot, at the last batch."""
        self._transactions: TransactionReader | None = None
        self._lock: Session | None = None
        self._read_at = 0.0
        self._next_attempt = 0.0
        self._recorded = 0
        """The position up to which the lake has all changes."""
        self.gap: str | None = None
        """Why the log, which was read before, can't be read now; None if it can."""
        self._failure: str | None = None
        """Why the slot that exists can't be used."""
        self._system = ""
        self._reported_reasons: dict[str, str] = {}
        self._errors = 0
        """How often in succession decoding has failed."""

    def wait_for_slot(self) -> None:
        """Wait until no other process reads the slot.

        Read the newest manifest only after that: until then, another process may publish a batch
        and let the server remove the log before it. Raises SourceUnavailable if that takes too
        long.
        """
        with connect(self.dsn) as connection:
            if self._must_reopen(connection):
                self.close()
        self._lock_slot()

    def start(self, previous: Manifest | None, store: Store) -> LogStart | None:
        """Return where the batch after `previous` begins; None if the log can't be used now.

        `previous` was read after `wait_for_slot`. Creates the slot if that is needed. Raises
        SourceError if the server or the privileges of the role do not permit reading the log, and
        SourceUnavailable if it can be read later.
        """
        try:
            return self._start(previous, store)
        except BaseException:
            self.close()
            raise

    def _start(self, previous: Manifest | None, store: Store) -> LogStart | None:
        self.gap = None
        had_log = previous is not None and previous.log is not None
        with connect(self.dsn) as connection:
            if not self._is_usable(connection, previous):
                self.close()
                return None
            slot = read_slot(connection, self.slot)
            if slot is not None and slot.misuse:
                raise SourceError(f"The log can't be read: {slot.misuse} (TOTES_LOG_SLOT).")
            self.retained_bytes = (slot and slot.retained_bytes) or 0
            if not self._has_publication(connection):
                self.gap = f"publication {self.publication} does not exist" if had_log else None
                self.close()
                return None
            reason = self._failure
            if self._transactions is None and reason is None:
                recorded = find_log_position(store, previous) if previous else None
                reason = _find_gap(slot, recorded) or self._open_stream()
                self._recorded = recorded or 0
            if reason is None:
                return LogStart(self, self._recorded, self._transactions)
            gap = reason if had_log else None
            start = self._create_slot(connection, store, slot, gap)
            self.gap = None if start else gap
            return start

    def _is_usable(self, connection: psycopg.Connection, previous: Manifest | None) -> bool:
        """Return whether the log can be used; SourceError if the server is a standby."""
        [(is_standby, self._system, database, timeline)] = connection.execute(
            "SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system())::text,"
            " (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,"
            " CASE WHEN NOT pg_is_in_recovery() THEN"
            " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END"
        ).fetchall()
        if is_standby:
            raise SourceError(
                f"The source {self.dsn} is a standby, and TOTES_CAPTURE=log reads the log of the "
                "primary server: use its address, or set TOTES_CAPTURE=scan."
            )
        # A different source is reported or accepted later, by the capture.
        return previous is None or (self._system, database, timeline) == (
            previous.identity.system_identifier,
            previous.identity.database_oid,
            previous.identity.timeline,
        )

    def _has_publication(self, connection: psycopg.Connection) -> bool:
        """Return whether the publication exists; if not, log a warning once a minute."""
        query = "SELECT FROM pg_publication WHERE pubname = %s"
        if connection.execute(query, [self.publication]).fetchone() is not None:
            return True
        if time.monotonic() >= self._next_attempt:
            self._next_attempt = time.monotonic() + _PAUSE_AFTER_BLOCKED_SECONDS
            log.warning(
                "The source has no publication %s: the tables are scanned. `totes check` prints "
                "the statement that creates it.",
                self.publication,
            )
        return False

    def _must_reopen(self, connection: psycopg.Connection) -> bool:
        """Return whether the server may have ended the stream, or another process waits."""
        if self._transactions is None:
            return False
        if time.monotonic() - self._read_at > _STALE_SECONDS or self._failure:
            return True
        return self._is_awaited(connection)

    def _is_awaited(self, connection: psycopg.Connection) -> bool:
        [(waiting,)] = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(%s, 0)",
            [self._lock_name],
        ).fetchall()
        return bool(waiting)

    @property
    def _lock_name(self) -> str:
        return f"totes.log.{self.slot}"

    def _lock_slot(self) -> None:
        """Wait until no other process reads the slot; `close` releases its lock."""
        if self._lock is not None:
            return
        try:
            with source_errors(self.dsn):
                self._wait_for_lock()
        except BaseException:
            self.close()
            raise

    def _wait_for_lock(self) -> None:
        self._lock = open_session(self.dsn, SOURCE, SETTINGS, application_name="totes log lock")
        # The server must notice soon that the machine of a reader has gone.
        self._lock.execute(
            sql.SQL(
                "SET lock_timeout = {}; SET tcp_keepalives_idle = 30;"
                " SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
            ).format(_LOCK_TIMEOUT)
        )
        try:
            self._lock.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [self._lock_name]
            )
        except errors.LockNotAvailable:
            raise SourceUnavailable(
                f"Another process has held replication slot {self.slot} for {_LOCK_TIMEOUT}: stop "
                "that process, or try again."
            ) from None

    def _open_stream(self) -> str | None:
        """Open the stream; return why the slot can't be used, None if it can."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                stream = LogStream(self.dsn, self.slot, self.publication)
            except errors.ObjectInUse:
                if time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.1)
            except psycopg.Error as error:
                if not _is_permanent(error):
                    self.close()
                    raise
                return f"the slot {self.slot} can't be read: {message(error)}"
            else:
                self._transactions = TransactionReader(stream)
                self._read_at = time.monotonic()
                return None

    def _create_slot(
        self,
        connection: psycopg.Connection,
        store: Store,
        slot: SlotState | None,
        gap: str | None,
    ) -> LogStart | None:
        """Create the slot in place of an unusable one; None if transactions delay that.

        The lake first records that it creates the slot, so that it never replaces the slot of
        another program.
        """
        if time.monotonic() < self._next_attempt:
            self.close()
            return None
        record = slot_path(self._system, self.slot)
        if slot is not None and not store.exists(record):
            raise SourceError(
                f"Replication slot {self.slot} was not created for this lake, and may be in use by "
                "another program: set another TOTES_LOG_SLOT, or run `totes log drop`."
            )
        reach("log.before-slot-record")
        store.create(record, b"{}\n")
        reach("log.slot-recorded")
        before_slot = BeforeSlot.read(connection, self.publication)
        try:
            position = create_slot(connection, self.slot, _CREATE_TIMEOUT_SECONDS)
        except SlotBlocked as error:
            log.warning("%s", error)
            self._next_attempt = time.monotonic() + _PAUSE_AFTER_BLOCKED_SECONDS
            self.close()
            return None
        self._failure, self._errors, self._recorded = None, 0, position
        if failure := self._open_stream():
            raise SourceUnavailable(f"The new replication slot can't be used: {failure}.")
        return LogStart(self, position, None, gap, before_slot)

    def report_scans(self, reasons: Mapping[str, str]) -> None:
        """Log why tables are scanned, each reason once."""
        for table, reason in reasons.items():
            if self._reported_reasons.get(table) != reason:
                log.info("Table %s is scanned: %s.", table, reason)
        self._reported_reasons = dict(reasons)

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Turn an error that would occur again into LogUnreadable; others into SourceUnavailable.

        After LogUnreadable, the slot is created again.
        """
        try:
            yield
        except psycopg.Error as error:
            if can_retry(error) or error.sqlstate is None:
                raise
            self._errors += 1
            if _is_permanent(error) or self._errors >= _MAX_ERRORS:
                raise self.reject(message(error)) from error
            raise SourceUnavailable(
                f"The source's write-ahead log can't be read: {message(error)}: try again."
            ) from error
        except (KeyError, ValueError, struct.error) as error:
            raise self.reject(f"{type(error).__name__}: {error}") from error
        else:
            self._errors = 0
        finally:
            self._read_at = time.monotonic()

    def reject(self, reason: str) -> LogUnreadable:
        """Return an error to raise, after which the next batch creates the slot again."""
        self._failure = f"the log can't be decoded: {reason}"
        return LogUnreadable(f"The log can't be decoded: {reason}.")

    def confirm(self, position: int) -> None:
        """Let the server remove the log up to a position that the lake has recorded.

        If the stream has ended, a later batch confirms the position.
        """
        self._recorded = position
        if self._transactions is not None:
            try:
                self._transactions.stream.confirm(self._recorded)
            except psycopg.Error:
                self.close()

    def wait(self, seconds: float, stop: Event) -> None:
        """Wait for a transaction to be committed, for at most `seconds`, or until `stop` is set.

        Also return if another process waits for the slot.
        """
        if self._transactions is None:
            return
        deadline = time.monotonic() + seconds
        try:
            with connect(self.dsn) as connection:
                while not stop.is_set() and time.monotonic() < deadline:
                    if self._transactions.wait(_WAIT_STEP_SECONDS) or self._is_awaited(connection):
                        break
        except (psycopg.Error, SourceError):
            self.close()  # the next batch opens it again, or reports why it can't
        self._read_at = time.monotonic()

    def close(self) -> None:
        """End the stream and release the slot; what was read and not published is read again."""
        transactions, self._transactions = self._transactions, None
        lock, self._lock = self._lock, None
        with suppress(psycopg.Error):
            if transactions is not None:
                transactions.close()
        with suppress(psycopg.Error):
            if lock is not None:
                lock.close()


def _find_gap(state: SlotState | None, recorded: int | None) -> str | None:
    """Return why a slot does not have all changes after a position; None if it has."""
    if state is None:
        return "the replication slot does not exist"
    if state.is_lost:
        reason = f" ({state.invalidation_reason})" if state.invalidation_reason else ""
        return f"the server has invalidated the replication slot{reason}"
    if recorded is None:
        return "no batch was read from the replication slot"
    if state.confirmed is None or state.confirmed > recorded:
        return "another program has read or created the replication slot"
    return None


def _is_permanent(error: psycopg.Error) -> bool:
    """Whether reading the slot again would raise the same error."""
    return (error.sqlstate or "").startswith(_PERMANENT_ERRORS)
