"""The committed transactions of a slot, each with the lines of the rows that it wrote."""

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import IO

from totes.lake.line import AT, DELETE, SEQUENCE, UPSERT, XID
from totes.lake.manifest import MAX_LINE_BYTES
from totes.source.catalogue import SourceTable
from totes.source.log import pgoutput
from totes.source.log.pgoutput import Relation
from totes.source.log.stream import LogStream

COMMIT_TIME_MARK = b"\0"
"""Stands for the commit time in a transaction's lines: it occurs in neither JSON nor text."""

_MARK = COMMIT_TIME_MARK.decode()

_MEMORY_BYTES = 1 << 18
"""The most bytes of one table's changes in a transaction that are kept in memory."""

_BLOCK_BYTES = 1 << 20


class Spool:
    """Bytes that are appended: in memory, and in a temporary file beyond _MEMORY_BYTES."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def append(self, content: bytes) -> None:
        """Append bytes."""
        self._parts.append(content)
        self._size += len(content)
        if self._size > _MEMORY_BYTES:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="totes-log-")  # noqa: SIM115  closed by `close`
            self._file.write(b"".join(self._parts))
            self._parts, self._size = [], 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the content in blocks."""
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(_BLOCK_BYTES):
                yield block
        yield b"".join(self._parts)

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()


@dataclass
class TableChanges:
    """What a transaction wrote to one table, as it was defined in `table`.

    `lines` are lines of an ingestion file, with COMMIT_TIME_MARK for the commit time. `keys` has
    a JSON line for each of them, in the same order: the key columns as k0, k1, …, `at`, `seq`, and
    `op`, which is insert, update or delete. A changed key is written as a delete and an insert.
    `truncations` are the places of truncations in the order of the transaction's changes.
    `problem` says why the log does not have all changes; it is empty if it has.
    """

    table: SourceTable
    lines: Spool = field(default_factory=Spool)
    keys: Spool = field(default_factory=Spool)
    upserts: int = 0
    deletes: int = 0
    truncations: list[int] = field(default_factory=list)
    problem: str = ""


@dataclass
class Transaction:
    """A committed transaction: its 64-bit id, and where its commit record starts."""

    xid: int
    committed_at: datetime
    position: int = 0
    changes: dict[str, TableChanges] = field(default_factory=dict)
    """By table; without the tables that are not captured from the log."""

    _sequence: int = 0

    def write(self, relation: Relation, message: bytes) -> None:
        """Add the line of an inserted, updated or deleted row; two if its key changed."""
        if (changes := self._changes_of(relation)) is None:
            return
        old, new = relation.read_change(message)
        if new is not None and None in new:
            changes.problem = "an update left values in TOAST unchanged, and the log lacks them"
            return
        key = relation.key_fields(new) if new is not None else None
        old_key = relation.key_fields(old) if old is not None else key
        if old_key is not None and old_key != key:
            changes.deletes += 1
            self._write_line(changes, DELETE, *old_key, "delete")
        if new is not None and key is not None:
            changes.upserts += 1
            is_insert = message[0] == pgoutput.INSERT or old_key != key
            kind = "insert" if is_insert else "update"
            self._write_line(changes, UPSERT, relation.row_fields(new), key[1], kind)

    def truncate(self, relation: Relation) -> None:
        """Add the truncation of a table."""
        if (changes := self._changes_of(relation)) is not None:
            self._sequence += 1
            changes.truncations.append(self._sequence)

    def line_start(self, operation: str, sequence: int) -> bytes:
        """Return the start of a line, up to the first column."""
        start = f'{operation},"{XID}":"{self.xid}","{AT}":"{_MARK}","{SEQUENCE}":{sequence},'
        return start.encode()

    def close(self) -> None:
        """Delete the temporary files."""
        for changes in self.changes.values():
            changes.lines.close()
            changes.keys.close()

    def _changes_of(self, relation: Relation) -> TableChanges | None:
        """Return the changes to a table; None if they are not captured or can't be decoded."""
        if relation.table is None:
            return None
        name = relation.table.name
        changes = self.changes.get(name)
        if changes is None:
            changes = self.changes[name] = TableChanges(relation.table)
        if changes.table is not relation.table and changes.table != relation.table:
            changes.problem = "the table was altered in a transaction that wrote to it"
        changes.problem = changes.problem or relation.problem
        return None if changes.problem else changes

    def _write_line(
        self, changes: TableChanges, operation: str, fields: bytes, key: bytes, kind: str
    ) -> None:
        self._sequence += 1
        if len(fields) > MAX_LINE_BYTES - 256:
            changes.problem = f"a row has more than {MAX_LINE_BYTES} bytes as JSON"
            return
        changes.lines.append(self.line_start(operation, self._sequence) + fields + b"}\n")
        changes.keys.append(
            b'{%b,"at":"%b","seq":%d,"op":"%b"}\n'
            % (key, COMMIT_TIME_MARK, self._sequence, kind.encode())
        )


class TransactionReader:
    """Reads a slot's transactions one after the other, in the order of their commits."""

    def __init__(self, stream: LogStream) -> None:
        self.stream = stream
        self.deferred: list[Transaction] = []
        """Transactions that were read and not accepted: `read` yields them again, first."""
        self._relations: dict[int, Relation] = {}
        self._tables: Mapping[int, SourceTable] = {}
        self._xmax = 0
        self._current: Transaction | None = None
        self._received: list[bytes] = []
        """Messages that `wait` has received: `read` decodes them, as it knows the tables."""

    @property
    def settled_position(self) -> int:
        """All transactions that end before it were read and accepted."""
        return min([one.position for one in self.deferred], default=self.stream.position)

    def read(
        self, tables: Iterable[SourceTable], xmax: int, until: int, quiet_seconds: float
    ) -> Iterator[Transaction]:
        """Yield committed transactions until the position `until`.

        tables: those to capture from the log. xmax: that of the newest snapshot. The log has 32-bit
        ids, which are widened to the 64-bit ids nearest to it. The iteration ends early if the
        server is quiet for `quiet_seconds`: `stream.position` is then before `until`. The caller
        must put a transaction that it does not accept into `deferred`.
        """
        self._tables, self._xmax = {table.oid: table for table in tables}, xmax
        for relation in self._relations.values():
            relation.use(self._tables)
        deferred, self.deferred = self.deferred, []
        yield from deferred
        if self.stream.position >= until:
            return
        received, self._received = self._received, []
        for message in chain(received, self.stream.messages(quiet_seconds)):
            if message and (transaction := self._decode(message)) is not None:
                yield transaction
            if self.stream.position >= until and self._current is None:
                return

    def wait(self, seconds: float) -> bool:
        """Wait until the server sends a committed transaction; return whether there is one."""
        deadline = time.monotonic() + seconds
        if not self._received:
            for message in self.stream.messages(seconds, ask_seconds=seconds):
                if message:
                    self._received.append(message)
                if message or time.monotonic() > deadline:
                    break
        return bool(self._received or self.deferred)

    def close(self) -> None:
        """End the stream, and delete the temporary files."""
        for transaction in (*self.deferred, *filter(None, [self._current])):
            transaction.close()
        self.stream.close()

    def _decode(self, message: bytes) -> Transaction | None:
        """Decode one message; return the transaction that it ends."""
        kind = message[0]
        current = self._current
        if kind == pgoutput.RELATION:
            relation = pgoutput.read_relation(message)
            relation.use(self._tables)
            self._relations[relation.oid] = relation
        elif kind == pgoutput.BEGIN:
            begin = pgoutput.read_begin(message)
            self._current = Transaction(self._widen(begin.xid), begin.committed_at)
        elif current is None:
            return None
        elif kind in {pgoutput.INSERT, pgoutput.UPDATE, pgoutput.DELETE}:
            current.write(self._relations[pgoutput.changed_table(message)], message)
        elif kind == pgoutput.TRUNCATE:
            for oid in pgoutput.read_truncate(message):
                current.truncate(self._relations[oid])
        elif kind == pgoutput.COMMIT:
            commit = pgoutput.read_commit(message)
            current.position = commit.position
            self.stream.position = max(self.stream.position, commit.end)
            self._current = None
            return current
        return None

    def _widen(self, xid: int) -> int:
        """Return the 64-bit id nearest to the snapshot's xmax with these low 32 bits."""
        distance = (xid - self._xmax + (1 << 31)) % (1 << 32) - (1 << 31)
        return self._xmax + distance
