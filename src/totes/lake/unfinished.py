"""Records of what attempts at an unpublished batch have stored of large tables.

A capture stores a large table in pieces, and a record of each piece after its files. A later
attempt at the same batch reads the records of earlier attempts, and need not read these pieces from
the source again. Objects, below `unfinished/BATCH/`:

    ATTEMPT.json                              the snapshot of an attempt, and its large tables
    ATTEMPT/TABLE/FIRST-END-ROWS-SHA256.json  one piece: blocks from FIRST up to END, exclusive

ATTEMPT is the SHA-256 of the first object's content, and SHA-256 that of the second. So the path of
each record proves to which snapshot it belongs, and a damaged record is recognized. Once the batch
is published, `totes gc` deletes the records.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import ConfigDict, ValidationError

from totes.errors import ObjectMissing
from totes.failpoint import reach
from totes.lake.manifest import (
    UNFINISHED_PREFIX,
    File,
    Identity,
    Record,
    find_named,
    sha256_hex,
    table_folder,
)
from totes.lake.store import Store

log = logging.getLogger(__name__)

FORMAT = 1
"""The format version of attempts; those of another version are ignored."""

_PIECE = re.compile(r"(?P<first>\d+)-(?P<end>\d+)-(?P<rows>\d+)-(?P<sha256>[0-9a-f]{64})")


class _StrictRecord(Record):
    model_config = ConfigDict(extra="forbid")


class LargeTable(_StrictRecord):
    """A large table as an attempt's snapshot sees it; the fields are those of Table."""

    name: str
    fingerprint: str
    relfilenodes: str
    blocks: int
    size_bytes: int


class Attempt(_StrictRecord):
    """One attempt at a batch. `token` is in the names of its files, and different for each attempt.

    `labels` is a digest of the catalogue's rows of all enum labels. A label may be renamed without
    a lock while its table is read, and renamed back: the rows of the catalogue then differ.
    """

    format: int = FORMAT
    token: str
    snapshot: str
    identity: Identity
    labels: str
    tables: tuple[LargeTable, ...]

    def table(self, name: str) -> LargeTable | None:
        """Return the large table with this name; None if there is none."""
        return find_named(self.tables, name)


class StoredPiece(_StrictRecord):
    """The files with all rows that a snapshot sees in some blocks of a table.

    `lines` is None if there are none. `keys` is a Parquet file with key, `_block` and `_xid` of
    each line, in the same order; None without a primary key. `content_hash` is the sum of the rows'
    hashes for a table without a primary key, else 0.
    """

    table: str
    first_block: int
    end_block: int
    rows: int
    lines: File | None
    keys: File | None
    content_hash: int


@dataclass(frozen=True)
class StoredCapture:
    """How much of an unpublished batch's large tables is stored: `share` of their size, 0 to 1."""

    batch: int
    rows: int
    share: float


class UnfinishedBatch:
    """The records of one batch."""

    def __init__(self, store: Store, batch: int) -> None:
        self._store = store
        self._batch = batch
        self._prefix = f"{UNFINISHED_PREFIX}/{batch:012d}/"

    def add_attempt(self, attempt: Attempt) -> str:
        """Record an attempt before its first piece; return its name."""
        data = attempt.to_json()
        name = sha256_hex(data)
        reach("unfinished.before-attempt")
        self._store.create(f"{self._prefix}{name}.json", data)
        reach("unfinished.attempt-stored")
        return name

    def add_piece(self, attempt: str, piece: StoredPiece) -> None:
        """Record a piece whose files are stored."""
        data = piece.to_json()
        name = f"{piece.first_block:010d}-{piece.end_block:010d}-{piece.rows}-{sha256_hex(data)}"
        folder = f"{self._prefix}{attempt}/{table_folder(piece.table)}"
        reach("unfinished.before-piece")
        self._store.create(f"{folder}/{name}.json", data)
        reach("unfinished.piece-stored")

    def attempts(self) -> Iterator[tuple[str, Attempt]]:
        """Yield name and content of all attempts that can be read."""
        for key in self._store.list(self._prefix):
            path = PurePosixPath(key.removeprefix(self._prefix))
            if len(path.parts) > 1:
                continue
            attempt = self._read(key, Attempt, path.stem)
            if attempt and attempt.format == FORMAT:
                yield path.stem, attempt

    def pieces(self, attempt: str, table: str) -> Iterator[StoredPiece]:
        """Yield the pieces of a table that an attempt has stored, as far as they can be read."""
        for key in self._store.list(f"{self._prefix}{attempt}/{table_folder(table)}/"):
            match = _PIECE.fullmatch(PurePosixPath(key).stem)
            if match and (piece := self._read(key, StoredPiece, match["sha256"])):
                yield piece

    def measure(self) -> StoredCapture | None:
        """Return how much is stored; None if there is no attempt. Reads no record of a piece."""
        attempts = dict(self.attempts())
        sizes = {table.name: table for attempt in attempts.values() for table in attempt.tables}
        stored_bytes, rows = 0.0, 0
        for table in sizes.values():
            spans = [
                (int(match["first"]), int(match["end"]), int(match["rows"]))
                for attempt in attempts
                for key in self._store.list(f"{self._prefix}{attempt}/{table_folder(table.name)}/")
                if (match := _PIECE.fullmatch(PurePosixPath(key).stem))
            ]
            blocks, end_before = 0, 0
            for first, end, piece_rows in sorted(spans):
                if first >= end_before:  # concurrent attempts store the same pieces
                    blocks, rows, end_before = blocks + end - first, rows + piece_rows, end
            stored_bytes += table.size_bytes * min(blocks / max(table.blocks, 1), 1)
        total_bytes = sum(table.size_bytes for table in sizes.values())
        return StoredCapture(self._batch, rows, stored_bytes / total_bytes) if attempts else None

    def _read[R: _StrictRecord](self, key: str, kind: type[R], sha256: str) -> R | None:
        """Return a record; None if it is damaged, of another version, or was just deleted."""
        try:
            data = self._store.get(key)
            if sha256_hex(data) == sha256:
                return kind.model_validate_json(data)
        except (ObjectMissing, ValidationError):
            pass
        log.warning("%s in %s can't be used: what it records is read again.", key, self._store.url)
        return None
