"""What changed in every table since the last batch, as files in the ingestion store.

A table is scanned once, in pieces; what belongs to the table as a whole (deletions, live keys)
is worked out when all of its pieces are there.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import duckdb
import psycopg

from totes.errors import LakeError, SourceError
from totes.lake.manifest import File, KeyFile, Manifest, Table
from totes.postgres.sqlstate import is_caused_by_value
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.changes import Horizon
from totes.source.files import BatchFiles
from totes.source.keys import TableKeys
from totes.source.scan import CONNECTIONS, Part, Piece, Plan, Reader, Scan
from totes.source.snapshot import Snapshot, oldest_running

log = logging.getLogger(__name__)

_MOST_CHANGE_FILES = 16
_MOST_CHANGED_SHARE = 0.1
"""Key changes beyond either make the batch write a table's live keys anew."""

_SMALL_TABLE = 100
"""Up to so many rows a table may lose most of them without being asked about."""


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

    def tables(self, before: Manifest | None, *, everything: bool) -> tuple[Table, ...]:
        """Every table in scope, with the files that hold what changed since `before`."""
        plans = [
            self._plan(table, before, everything=everything)
            for table in self._snapshot.catalogue.tables
        ]
        with ExitStack() as stack:
            scan = Scan(self._snapshot, self._files, self._progress, stack)
            pool = stack.enter_context(_pool())
            tables: dict[str, Table] = {}
            while plans:
                found = self._read(pool, scan, plans)
                tables |= {table.name: table for table in found if table is not None}
                plans = [plan.whole() for plan in plans if plan.table.name not in tables]
        return tuple(tables[name] for name in sorted(tables))

    def _plan(self, table: SourceTable, before: Manifest | None, *, everything: bool) -> Plan:
        if before is None:
            return Plan(table, None, horizon=None)
        known = before.table(table.name)
        if known is None or known.key != table.key or everything:
            # Whoever had this key before and hasn't now was deleted, however long ago that was.
            return Plan(table, before.known(table.name, table.key), horizon=None)
        if known.fingerprint != table.fingerprint:
            log.info(
                "Table %s was altered since batch %d: captured whole.", table.name, before.batch
            )
            return Plan(table, known, horizon=None)
        repeats = self._files.fetch(known.repeats) if known.repeats else None
        horizon = Horizon(oldest_running(before.snapshot), self._snapshot.xmax)
        return Plan(table, known, horizon, repeats)

    def _read(
        self, pool: ThreadPoolExecutor, scan: Scan, plans: Sequence[Plan]
    ) -> Iterator[Table | None]:
        pieces = [list(scan.pieces(plan)) for plan in plans]  # before the pool has the connection
        reading = [
            [pool.submit(scan.read, plan, piece) for piece in of_table]
            for plan, of_table in zip(plans, pieces, strict=True)
        ]
        read = [[future.result() for future in of_table] for of_table in reading]
        return pool.map(lambda plan, pieces: self._finish(scan, plan, pieces), plans, read)

    def _finish(self, scan: Scan, plan: Plan, pieces: Iterable[Piece]) -> Table | None:
        """The table in this batch, or None where it must be read again, whole."""
        rows = sum(piece.rows for piece in pieces)
        changed = sum(piece.changed for piece in pieces)
        content = None
        if plan.horizon is None and not plan.table.key:
            content = str(sum(piece.content for piece in pieces))
        if plan.before is not None and _stood_still(plan, plan.before, rows, changed, content):
            return plan.before.model_copy(update={"files": (), "whole": False, "repeats": None})
        if not plan.table.key and plan.horizon is not None:
            return None
        with scan.reader() as reader, self._known_keys(plan):
            parts = [part for piece in pieces for part in piece.parts]
            rest = scan.new_rows()
            for piece in pieces:
                if piece.rest.count:
                    rest.move_from(piece.rest)
            if rest.count:
                parts.append(scan.publish(reader, plan, rest))
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
            if plan.table.key:
                return self._with_keys(reader, plan, table, parts)
            keys = TableKeys(reader.engine, plan.table)
            return table.model_copy(update={"unreadable": self._unreadable(table, keys, parts)})

    @contextmanager
    def _known_keys(self, plan: Plan) -> Iterator[None]:
        """LakeError where what earlier batches left of a table's keys can't be read."""
        try:
            yield
        except duckdb.Error as error:
            raise LakeError(
                f"The known keys of table {plan.table.name} can't be compared "
                f"({str(error).splitlines()[0]}): restore {', '.join(self._known_files(plan))} "
                "from a backup."
            ) from error

    @staticmethod
    def _known_files(plan: Plan) -> list[str]:
        known = plan.before
        if known is None:
            return ["the disk's room"]
        side_files = filter(None, [known.repeats, known.unreadable])
        return [file.path for file in (*known.keys, *side_files)]

    def _with_keys(
        self, reader: Reader, plan: Plan, table: Table, parts: list[Part]
    ) -> Table | None:
        """Add deletions and what the next capture must know of the keys."""
        keys = TableKeys(reader.engine, plan.table)
        keys.carry([part.keys for part in parts if part.keys])
        known = plan.before if plan.before and plan.before.key == table.key else None
        before = known.keys if known else ()
        keys.open_live(
            [self._files.fetch(file) for file in before if file.kind == "base"],
            [self._files.fetch(file) for file in before if file.kind == "change"],
        )
        live = known.rows if known else 0
        if plan.table.inherited:
            keys.check_unique(reader.connection, live, whole=table.whole)
        same_types = _key_types(known) == _key_types(table)
        gone = (
            keys.gone_from_carried(same_types=same_types)
            if table.whole
            else self._find_gone(reader, keys, table, live)
        )
        if gone is None:
            return None
        files = table.files
        if gone:
            self._check_deletes(table.name, gone, live)
            lines = self._files.local("jsonl")
            keys.write_deletes(lines)
            files += (self._files.put_lines(table.name, lines, rows=gone, deletes=gone),)
        changes = table.rows - live + 2 * gone  # what was added, and what is gone
        return table.model_copy(
            update={
                "files": files,
                "keys": self._live_keys(table, keys, before if same_types else (), changes),
                "repeats": self._repeats(table, keys),
                "unreadable": self._unreadable(table, keys, parts, known),
            }
        )

    def _find_gone(self, reader: Reader, keys: TableKeys, table: Table, live: int) -> int | None:
        """How many live keys the source has no more; None where the count doesn't add up.

        The live keys and the carried ones together are as many as the table has rows: then
        nothing was deleted, and no key is read.
        """
        expected = live + keys.added()
        if expected == table.rows:
            keys.none_gone()
            return 0
        if expected > table.rows:
            try:
                with reader.connection.transaction():
                    gone = keys.gone_by_buckets(reader.connection, live, self._files)
            except psycopg.Error as error:
                if not is_caused_by_value(error):
                    raise
                return None  # a key can't be read: then the whole table is read
            if gone == expected - table.rows:
                return gone
        log.warning(
            "Table %s has %d rows where its known keys and changes make %d: captured whole.",
            table.name,
            table.rows,
            expected,
        )
        return None

    def _check_deletes(self, table: str, gone: int, rows: int) -> None:
        if rows > _SMALL_TABLE and gone > rows / 2 and not self._accept_deletes:
            raise SourceError(
                f"Table {table} lost {gone} of its {rows} rows since the last batch: "
                "nothing was captured. If that is meant, run `totes ingest --accept-deletes`."
            )

    def _live_keys(
        self, table: Table, keys: TableKeys, before: tuple[KeyFile, ...], changes: int
    ) -> tuple[KeyFile, ...]:
        if before and not changes:
            return before
        path = self._files.local("parquet")
        if table.whole:
            return (self._put_keys(table, "base", path, keys.write_carried(path)),)
        changed = [file for file in before if file.kind == "change"]
        base = sum(file.rows for file in before if file.kind == "base")
        total = changes + sum(file.rows for file in changed)
        if len(changed) >= _MOST_CHANGE_FILES or total > _MOST_CHANGED_SHARE * base:
            return (self._put_keys(table, "base", path, keys.write_base(path)),)
        return (*before, self._put_keys(table, "change", path, keys.write_changes(path)))

    def _put_keys(
        self, table: Table, kind: Literal["base", "change"], path: Path, rows: int
    ) -> KeyFile:
        file = self._files.put_parquet(table.name, "keys", path, rows)
        return KeyFile(kind=kind, **file.model_dump())

    def _unreadable(
        self, table: Table, keys: TableKeys, parts: list[Part], known: Table | None = None
    ) -> File | None:
        """All values that can't be read in the table: found now, or known of rows not read now."""
        before = known.unreadable if known and not table.whole else None
        found = [part.unreadable for part in parts if part.unreadable]
        if not (before or found):
            return None
        lines, path = self._files.local("jsonl"), self._files.local("parquet")
        with lines.open("wb") as file:
            for one in found:
                file.write(one.read_bytes())
                one.unlink()
        fetched = self._files.fetch(before) if before else None
        rows = keys.write_unreadable(lines, fetched, path)
        return self._files.put_parquet(table.name, "unreadable", path, rows) if rows else None

    def _repeats(self, table: Table, keys: TableKeys) -> File | None:
        if self._snapshot.xmin == self._snapshot.xmax:
            return None  # no transaction was running: nothing will come up again
        path = self._files.local("parquet")
        rows = keys.write_repeats(self._snapshot.xmin, path)
        return self._files.put_parquet(table.name, "repeats", path, rows) if rows else None


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for the readers; after an error, what has not begun never begins."""
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _stood_still(plan: Plan, before: Table, rows: int, changed: int, content: str | None) -> bool:
    """Whether the table is as the last batch knew it."""
    if before.rows != rows or before.fingerprint != plan.table.fingerprint:
        return False
    return changed == 0 if plan.horizon else content is not None and content == before.content


def _key_types(table: Table | None) -> list[str]:
    return [table.column(name).type for name in table.key] if table else []
