"""Capture from the log: writes all versions that a batch's transactions wrote.

A transaction belongs to a batch if the batch's snapshot sees it, the previous batch's snapshot does
not, and no earlier batch contains it already (`ahead`). So each batch is the state at a snapshot,
whether its tables were read from the log or scanned, and the next batch can be read either way.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO

import duckdb

from totes.duckdb_engine import open_engine
from totes.errors import LogBehind, SourceUnavailable
from totes.lake.line import DELETE
from totes.lake.lsn import parse_lsn
from totes.lake.manifest import UNCHANGED, File, Manifest, Table
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.files import BatchFiles
from totes.source.key_files import fits_change_file, store_live_keys
from totes.source.keys import TableKeys
from totes.source.log.coverage import find_scan_reasons
from totes.source.log.reader import LOG_TIMEOUT_SECONDS, LogStart
from totes.source.log.transactions import (
    COMMIT_TIME_MARK,
    TableChanges,
    Transaction,
    TransactionReader,
)
from totes.source.snapshot import Snapshot, VisibleTransactions

_TICK = timedelta(microseconds=1)

_POSITION_QUERY = "SELECT pg_current_wal_insert_lsn()::text, current_setting('wal_block_size')::int"

_MAX_HEADER_BYTES = 40
"""The most bytes of the header of a page of the log. A position so close to the start of a page can
be the end of that header, after a record that ended at the end of the page before."""

_FILE_BYTES = 48 << 20
"""Lines of one table are stored as a file once they have this many bytes."""


@dataclass
class _TableLines:
    """Local files of one table's changes, and the files that were stored already."""

    lines: IO[bytes]
    keys: IO[bytes]
    counts: Counter[str] = field(default_factory=Counter)
    truncations: list[tuple[Transaction, str, int]] = field(default_factory=list)
    stored: list[File] = field(default_factory=list)


class LogCapture:
    """The tables of one batch that are read from the log, from `previous` up to a snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        previous: Manifest,
        log_start: LogStart,
        files: BatchFiles,
        progress: Progress,
    ) -> None:
        self.is_complete = False
        """Whether the log was read up to the snapshot."""
        self.captured_at = previous.captured_at
        """The moment of the last transaction that was taken."""
        self.xids: list[int] = []
        """The ids of the transactions in the batch that changed a table."""
        self._published = log_start.read_publication(snapshot)
        self.scan_reasons = find_scan_reasons(snapshot, previous, self._published)
        """Why a table must be scanned in this batch, by table."""
        self._reader = log_start.reader
        self._snapshot = snapshot
        self._previous = previous
        self._files = files
        self._progress = progress
        self._lines: dict[str, _TableLines] = {}
        self._truncated_by: dict[str, set[int]] = {}
        self._taken_from = VisibleTransactions(previous.snapshot)
        self._taken_to = VisibleTransactions(snapshot.text)
        self._ahead = frozenset(previous.log.ahead if previous.log else ())
        tables = snapshot.catalogue.tables
        self._current = {
            table.name: table for table in tables if table.name not in self.scan_reasons
        }
        # Also tables that only this batch must scan: a transaction may belong to the next batch.
        self._readable = [table for table in tables if not self._published[table.name].reason]

    @property
    def snapshot(self) -> str:
        """The snapshot of the batch; that of the batch before if this one is not complete."""
        return self._snapshot.text if self.is_complete else self._previous.snapshot

    @property
    def ahead(self) -> tuple[int, ...]:
        """The transactions that the batches contain although `snapshot` does not see them."""
        return () if self.is_complete else tuple(sorted(self._ahead | {*self.xids}))

    def read(self, transactions: TransactionReader) -> None:
        """Take all transactions that the snapshot sees.

        The last of them may be committed, but not yet written to the log. The batch then leaves
        them out (`is_complete` is false), unless a table was altered, or must be scanned: a scan
        sees their changes. Raises SourceUnavailable if the log does not reach the snapshot within
        LOG_TIMEOUT_SECONDS (LogBehind if nothing was taken yet), LogUnreadable if it can't be
        decoded.
        """
        [(text, block_size)] = self._snapshot.connection.execute(_POSITION_QUERY).fetchall()
        until = parse_lsn(text)
        if until % block_size <= _MAX_HEADER_BYTES:
            until -= until % block_size  # the last record may end at the end of the page before
        self._read(transactions, until, self._reader.quiet_seconds)
        if not self.is_complete and (self.scan_reasons or any(self._altered_tables())):
            self._read(transactions, until, LOG_TIMEOUT_SECONDS)
            if not self.is_complete:
                error = SourceUnavailable if self.xids else LogBehind
                raise error(
                    f"The source's write-ahead log has not reached {text} for"
                    f" {LOG_TIMEOUT_SECONDS:.0f} seconds: nothing was captured, try again."
                )
        for name in [*self._altered_tables()]:
            self._scan(name, "it was altered")
        self._reader.report_scans(self.scan_reasons)

    def _read(self, transactions: TransactionReader, until: int, quiet_seconds: float) -> None:
        deferred = []
        xmax = self._snapshot.xmax
        with self._reader.decoding():
            for transaction in transactions.read(self._readable, xmax, until, quiet_seconds):
                xid = transaction.xid
                if not self._taken_to.sees(xid):
                    # It ended after the snapshot, or waits for a synchronous standby.
                    deferred.append(transaction)
                    continue
                if not self._taken_from.sees(xid) and xid not in self._ahead:
                    self._take(transaction)
                transaction.close()
        transactions.deferred = deferred
        self.is_complete = transactions.stream.position >= until

    def _altered_tables(self) -> Iterator[str]:
        """Yield the tables that may have been altered without a trace in the transactions read."""
        for name in self._current.keys() - self.scan_reasons.keys():
            coverage, class_xmin = self._entry(name).log_coverage, self._published[name].class_xmin
            is_same = coverage is not None and coverage.class_xmin == class_xmin
            if not (is_same or class_xmin in self._truncated_by.get(name, ())):
                yield name

    def _entry(self, name: str) -> Table:
        entry = self._previous.table(name)
        if entry is None:
            raise AssertionError  # a new table is in scan_reasons
        return entry

    def _take(self, transaction: Transaction) -> None:
        changed = {
            name: changes
            for name, changes in transaction.changes.items()
            if name not in self.scan_reasons
        }
        if not changed:
            return
        self.captured_at = max(transaction.committed_at, self.captured_at + _TICK)
        moment = self.captured_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.xids.append(transaction.xid)
        for name, changes in changed.items():
            if changes.problem or changes.table != self._current[name]:
                self._scan(name, changes.problem or "the table was altered")
            else:
                self._write(name, transaction, changes, moment)

    def close(self) -> None:
        """Close the files, if they were not stored."""
        for target in self._lines.values():
            target.lines.close()
            target.keys.close()

    def _scan(self, name: str, reason: str) -> None:
        self.scan_reasons[name] = reason
        if (target := self._lines.pop(name, None)) is not None:
            target.lines.close()
            target.keys.close()

    def _write(
        self, name: str, transaction: Transaction, changes: TableChanges, moment: str
    ) -> None:
        target = self._lines.get(name)
        if target is None:
            target = self._lines[name] = _TableLines(
                self._files.new_path("jsonl").open("wb"), self._files.new_path("jsonl").open("wb")
            )
        mark = moment.encode()
        for file, spool in ((target.lines, changes.lines), (target.keys, changes.keys)):
            for block in spool.blocks():
                file.write(block.replace(COMMIT_TIME_MARK, mark))
        target.counts.update(rows=changes.upserts + changes.deletes, deletes=changes.deletes)
        self._progress.advance(changes.upserts + changes.deletes)
        target.truncations += ((transaction, moment, place) for place in changes.truncations)
        if changes.truncations:
            self._truncated_by.setdefault(name, set()).add(transaction.xid % (1 << 32))
        if target.lines.tell() >= _FILE_BYTES:
            self._store(name, target)
            target.lines = self._files.new_path("jsonl").open("wb")

    def _store(self, name: str, target: _TableLines) -> None:
        """Store the lines that were written since the last file."""
        target.lines.close()
        if target.counts["rows"]:
            file = self._files.put_lines(
                name,
                Path(target.lines.name),
                rows=target.counts["rows"],
                deletes=target.counts["deletes"],
            )
            target.stored.append(file)
            target.counts.clear()

    def store_tables(self) -> dict[str, Table]:
        """Store all lines; return the manifest's entries of the tables, without scanned ones."""
        entries = {
            name: self._entry(name).model_copy(update=UNCHANGED)
            for name in self._current
            if name not in self.scan_reasons
        }
        if self._lines:
            with open_engine(self._files.scratch) as engine:
                for name, lines in self._lines.items():
                    table = self._current[name]
                    entries[name] = self._store_table(engine, table, entries[name], lines)
        return entries

    def _store_table(
        self,
        engine: duckdb.DuckDBPyConnection,
        table: SourceTable,
        previous: Table,
        target: _TableLines,
    ) -> Table:
        keys = TableKeys(engine, table)
        target.keys.close()
        keys.define_logged_changes(Path(target.keys.name))
        if target.truncations:
            self._define_live(keys, previous)
        truncated = []
        for transaction, moment, place in target.truncations:
            lines = self._files.new_path("jsonl")
            if deletes := keys.add_truncation(moment, place):
                start = transaction.line_start(DELETE, place).replace(
                    COMMIT_TIME_MARK, moment.encode()
                )
                keys.write_deletes(lines, start.decode())
                truncated.append(
                    self._files.put_lines(table.name, lines, rows=deletes, deletes=deletes)
                )
            if previous.log_coverage:
                class_xmin = transaction.xid % (1 << 32)
                log_coverage = previous.log_coverage.model_copy(update={"class_xmin": class_xmin})
                previous = previous.model_copy(update={"log_coverage": log_coverage})
        added, deleted = keys.find_logged_changes()
        rows = previous.rows + added - deleted
        if rows < 0:
            raise self._reader.reject(f"table {table.name} would have {rows} rows")
        if not fits_change_file(previous.keys, added + deleted) and not target.truncations:
            self._define_live(keys, previous)
        self._store(table.name, target)
        return previous.model_copy(
            update={
                "files": (*target.stored, *truncated),
                "of_log": True,
                "rows": rows,
                "keys": store_live_keys(
                    self._files, table.name, keys, previous.keys, added + deleted
                ),
                "relfilenodes": "",  # an update may have moved a row to another block
            }
        )

    def _define_live(self, keys: TableKeys, previous: Table) -> None:
        keys.define_live(
            [self._files.fetch(file) for file in previous.keys if file.kind == "base"],
            [self._files.fetch(file) for file in previous.keys if file.kind == "change"],
        )
