"""What changed in every table since the last batch, as files in the ingestion store.

A table is scanned once, in pieces that two connections on one snapshot share. Each piece leaves
JSON Lines of the changed rows; what belongs to the table as a whole (deletions, live keys) is
worked out when all of its pieces are there.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

import duckdb
import psycopg

from totes.batch import File, KeyFile, Manifest, Table
from totes.engine import open_engine
from totes.errors import SourceError
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.changes import Blocks, Horizon, read_chunk, split, table_blocks
from totes.source.files import BatchFiles
from totes.source.keys import LARGEST_LINE, TableKeys
from totes.source.snapshot import Snapshot, oldest_running

log = logging.getLogger(__name__)

CONNECTIONS = 2
"""Connections that read one snapshot at a time."""

_CHUNK_BYTES = 2 << 20
"""Table bytes read by one statement when all of its rows are wanted (three times that as JSON)."""

_SPARSE_CHUNK_BYTES = 8 << 20
"""The same when few of them are."""

_CHUNKS_PER_PIECE = 12

_PART_BYTES = 16 << 20
"""JSON beyond this is published as a file of its own; less waits for the rest of its table."""

_MOST_CHANGE_FILES = 16
_MOST_CHANGED_SHARE = 0.1
"""Key changes beyond either make the batch write a table's live keys anew."""

_SMALL_TABLE = 100
"""Up to so many rows a table may lose most of them without being asked about."""


@dataclass(frozen=True)
class Plan:
    """How to read one table: what the last batch knew of it, and rows from which horizon up.

    Without a horizon all of its rows are read. `repeats` are rows of the last batch that the
    horizon brings up again.
    """

    table: SourceTable
    before: Table | None
    horizon: Horizon | None
    repeats: Path | None = None

    def whole(self) -> "Plan":
        return replace(self, horizon=None, repeats=None)


@dataclass
class _Lines:
    """A local file of JSON Lines that grows; `longest` in bytes."""

    path: Path
    rows: int = 0
    longest: int = 0
    size_bytes: int = 0

    def append(self, lines: bytes, rows: int) -> None:
        with self.path.open("ab") as file:
            file.write(lines)
        self.rows += rows
        self.longest = max(self.longest, _longest(lines))
        self.size_bytes += len(lines)

    def move_from(self, other: "_Lines") -> None:
        with self.path.open("ab") as file, other.path.open("rb") as lines:
            shutil.copyfileobj(lines, file, 1 << 20)
        other.path.unlink()
        self.rows += other.rows
        self.longest = max(self.longest, other.longest)
        self.size_bytes += other.size_bytes


@dataclass(frozen=True)
class _Part:
    """A file of JSON Lines in the store (none if all were repeats), and its keys, local."""

    file: File | None
    keys: Path | None


@dataclass
class _Piece:
    """What one piece of a table held; `rest` is what is too little for a part of its own."""

    rest: _Lines
    rows: int = 0
    changed: int = 0
    content: int = 0
    parts: list[_Part] = field(default_factory=list)


@dataclass(frozen=True)
class _Reader:
    connection: psycopg.Connection
    engine: duckdb.DuckDBPyConnection


class Capture:
    """Reads the tables of a snapshot into the store for one batch."""

    def __init__(
        self,
        snapshot: Snapshot,
        files: BatchFiles,
        *,
        accept_deletes: bool,
        progress: Progress,
    ) -> None:
        self._snapshot = snapshot
        self._files = files
        self._accept_deletes = accept_deletes
        self._progress = progress
        self._readers: SimpleQueue[_Reader] = SimpleQueue()

    def tables(self, before: Manifest | None, *, everything: bool) -> tuple[Table, ...]:
        """Every table in scope, with the files that hold what changed since `before`."""
        with ExitStack() as stack, ThreadPoolExecutor(CONNECTIONS) as pool:
            self._open_readers(stack)
            plans = [
                self._plan(table, before, everything=everything)
                for table in self._snapshot.catalogue.tables
            ]
            tables: dict[str, Table] = {}
            while plans:
                found = self._finish(pool, plans, self._scan(pool, plans))
                tables |= {table.name: table for table in found if table is not None}
                plans = [plan.whole() for plan in plans if plan.table.name not in tables]
            return tuple(tables[name] for name in sorted(tables))

    def _open_readers(self, stack: ExitStack) -> None:
        connections = [self._snapshot.connection] + [
            stack.enter_context(self._snapshot.another_connection()) for _ in range(CONNECTIONS - 1)
        ]
        for connection in connections:
            engine = stack.enter_context(open_engine(self._files.scratch, threads=1))
            self._readers.put(_Reader(connection, engine))

    @contextmanager
    def _reader(self) -> Iterator[_Reader]:
        reader = self._readers.get()
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def _plan(self, table: SourceTable, before: Manifest | None, *, everything: bool) -> Plan:
        known = before.table(table.name) if before else None
        if before is None or known is None or everything:
            return Plan(table, known, horizon=None)
        if known.fingerprint != table.fingerprint:
            log.info(
                "Table %s was altered since batch %d: captured whole.", table.name, before.batch
            )
            return Plan(table, known, horizon=None)
        repeats = self._files.fetch(known.repeats) if known.repeats else None
        horizon = Horizon(oldest_running(before.snapshot), self._snapshot.xmax)
        return Plan(table, known, horizon, repeats)

    # Scanning

    def _scan(self, pool: ThreadPoolExecutor, plans: Iterable[Plan]) -> list[list[_Piece]]:
        connection = self._snapshot.connection
        sizes = [table_blocks(connection, plan.table) for plan in plans]
        pieces = [
            [pool.submit(self._read_piece, plan, piece) for piece in _pieces(plan, *size)]
            for plan, size in zip(plans, sizes, strict=True)
        ]
        return [[future.result() for future in futures] for futures in pieces]

    def _read_piece(self, plan: Plan, chunks: list[Blocks]) -> _Piece:
        piece = _Piece(self._new_lines())
        with self._reader() as reader:
            for blocks in chunks:
                chunk = read_chunk(
                    reader.connection, plan.table, self._snapshot.xmax, plan.horizon, blocks
                )
                piece.rows += chunk.rows
                piece.changed += chunk.changed
                piece.content += chunk.content or 0
                self._progress.advance(chunk.changed)
                if chunk.changed:
                    piece.rest.append(chunk.lines, chunk.changed)
                if piece.rest.size_bytes >= _PART_BYTES:
                    piece.parts.append(self._publish(reader, plan, piece.rest))
                    piece.rest = self._new_lines()
        return piece

    def _new_lines(self) -> _Lines:
        return _Lines(self._files.local("jsonl"))

    def _publish(self, reader: _Reader, plan: Plan, lines: _Lines) -> _Part:
        """Put a local file of JSON Lines, less its repeats, into the store."""
        path, rows, carried = lines.path, lines.rows, None
        if plan.table.key:
            keys = TableKeys(reader.engine, plan.table)
            carried = self._files.local("parquet")
            keys.extract(path, carried, lines.longest)
            if plan.repeats:
                path = self._files.local("jsonl")
                rows = keys.drop_repeats(lines.path, plan.repeats, path, lines.longest)
                lines.path.unlink()
        file = self._files.put_lines(plan.table.name, path, rows=rows) if rows else None
        return _Part(file, carried)

    # Finishing a table

    def _finish(
        self, pool: ThreadPoolExecutor, plans: Iterable[Plan], scanned: list[list[_Piece]]
    ) -> Iterator[Table | None]:
        return pool.map(self._finish_table, plans, scanned)

    def _finish_table(self, plan: Plan, pieces: list[_Piece]) -> Table | None:
        """The table in this batch, or None where it must be read again, whole."""
        rows = sum(piece.rows for piece in pieces)
        changed = sum(piece.changed for piece in pieces)
        content = _content(plan, pieces)
        if plan.before is not None and _stood_still(plan, plan.before, rows, changed, content):
            return plan.before.model_copy(update={"files": (), "whole": False, "repeats": None})
        if not plan.table.key and plan.horizon is not None:
            return None
        with self._reader() as reader:
            parts = [part for piece in pieces for part in piece.parts]
            rest = self._new_lines()
            for piece in pieces:
                if piece.rest.rows:
                    rest.move_from(piece.rest)
            if rest.rows:
                parts.append(self._publish(reader, plan, rest))
            table = Table(
                name=plan.table.name,
                columns=tuple(column.published() for column in plan.table.columns),
                key=plan.table.key,
                fingerprint=plan.table.fingerprint,
                whole=plan.horizon is None,
                files=tuple(part.file for part in parts if part.file),
                rows=rows,
                content=content,
            )
            if not plan.table.key:
                return table
            return self._with_keys(reader, plan, table, [part.keys for part in parts if part.keys])

    def _with_keys(
        self, reader: _Reader, plan: Plan, table: Table, carried: list[Path]
    ) -> Table | None:
        """Add deletions and what the next capture must know of the keys."""
        keys = TableKeys(reader.engine, plan.table)
        keys.carry(carried)
        known = plan.before if plan.before and plan.before.key == table.key else None
        before = known.keys if known else ()
        keys.open_live(
            [self._files.fetch(file) for file in before if file.kind == "base"],
            [self._files.fetch(file) for file in before if file.kind == "change"],
        )
        added = keys.added()
        gone = self._find_gone(reader, plan, keys, rows=table.rows, added=added)
        if gone is None:
            return None
        files = table.files
        if gone:
            self._check_deletes(plan, gone)
            lines = self._files.local("jsonl")
            keys.write_deletes(lines)
            files += (self._files.put_lines(plan.table.name, lines, rows=gone, deletes=gone),)
        return table.model_copy(
            update={
                "files": files,
                "keys": self._live_keys(plan, keys, before, added + gone),
                "repeats": self._repeats(plan, keys),
            }
        )

    def _find_gone(
        self, reader: _Reader, plan: Plan, keys: TableKeys, *, rows: int, added: int
    ) -> int | None:
        """How many live keys the source has no more; None where the count doesn't add up.

        The live keys and the carried ones together are as many as the table has rows: then
        nothing was deleted, and no key is read.
        """
        if plan.horizon is None or plan.before is None:
            return keys.gone_from_carried()
        missing = plan.before.rows + added - rows
        if missing == 0:
            keys.none_gone()
            return 0
        if missing > 0:
            gone = keys.gone_by_buckets(reader.connection, plan.before.rows, self._files)
            if gone == missing:
                return gone
        log.warning(
            "Table %s has %d rows, %d more than its known keys account for: captured whole.",
            plan.table.name,
            rows,
            -missing,
        )
        return None

    def _check_deletes(self, plan: Plan, gone: int) -> None:
        rows = plan.before.rows if plan.before else 0
        if rows > _SMALL_TABLE and gone > rows / 2 and not self._accept_deletes:
            raise SourceError(
                f"Table {plan.table.name} lost {gone} of its {rows} rows since the last batch: "
                "nothing was captured. If that is meant, run `totes ingest --accept-deletes`."
            )

    def _live_keys(
        self,
        plan: Plan,
        keys: TableKeys,
        before: tuple[KeyFile, ...],
        changes: int,
    ) -> tuple[KeyFile, ...]:
        if not changes:
            return before
        changed = [file for file in before if file.kind == "change"]
        known = sum(file.rows for file in before) - sum(file.rows for file in changed)
        total = changes + sum(file.rows for file in changed)
        path = self._files.local("parquet")
        if len(changed) >= _MOST_CHANGE_FILES or total > _MOST_CHANGED_SHARE * known:
            return (self._put_keys(plan, "base", path, keys.write_base(path)),)
        return (*before, self._put_keys(plan, "change", path, keys.write_changes(path)))

    def _put_keys(
        self, plan: Plan, kind: Literal["base", "change"], path: Path, rows: int
    ) -> KeyFile:
        file = self._files.put_parquet(plan.table.name, "keys", path, rows)
        return KeyFile(kind=kind, **file.model_dump())

    def _repeats(self, plan: Plan, keys: TableKeys) -> File | None:
        if self._snapshot.xmin == self._snapshot.xmax:
            return None  # no transaction was running: nothing will come up again
        path = self._files.local("parquet")
        rows = keys.write_repeats(self._snapshot.xmin, path)
        return self._files.put_parquet(plan.table.name, "repeats", path, rows) if rows else None


def _pieces(plan: Plan, blocks: int, size_bytes: int) -> Iterator[list[Blocks]]:
    chunk_bytes = _CHUNK_BYTES if plan.horizon is None else _SPARSE_CHUNK_BYTES
    step = max(1, blocks * chunk_bytes // max(size_bytes, 1))
    chunks = list(split(blocks, step))
    for start in range(0, len(chunks), _CHUNKS_PER_PIECE):
        yield chunks[start : start + _CHUNKS_PER_PIECE]


def _content(plan: Plan, pieces: list[_Piece]) -> str | None:
    if plan.table.key or plan.horizon is not None:
        return None
    return str(sum(piece.content for piece in pieces))


def _stood_still(plan: Plan, before: Table, rows: int, changed: int, content: str | None) -> bool:
    """Whether the table is as the last batch knew it."""
    if before.rows != rows or before.fingerprint != plan.table.fingerprint:
        return False
    return changed == 0 if plan.horizon else content is not None and content == before.content


def _longest(lines: bytes) -> int:
    """Bytes of the longest line, as far as it matters for DuckDB's buffers."""
    if len(lines) <= LARGEST_LINE:
        return len(lines)
    return max(len(line) for line in lines.split(b"\n"))
