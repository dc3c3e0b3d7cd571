"""Capture: writes what changed in each table since the last batch into the ingestion store.

Each table is scanned once, in pieces. Deletions (deletions.py) and live keys are computed after all
pieces of the table have been read.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import duckdb

from totes.duckdb_engine import first_line
from totes.errors import LakeError
from totes.lake.manifest import UNCHANGED, File, Manifest, Table
from totes.progress import Progress
from totes.source.catalogue import SourceTable
from totes.source.changes import Horizon
from totes.source.deletions import check_share, find_deleted, store_deleted
from totes.source.files import BatchFiles
from totes.source.key_files import store_live_keys
from totes.source.keys import TableKeys
from totes.source.pieces import Plan, StoredFile
from totes.source.scan import Scan, ScannedTable
from totes.source.snapshot import Snapshot, snapshot_xmin

log = logging.getLogger(__name__)


class Capture:
    """Writes the files of one batch: the changed rows of a snapshot's tables."""

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

    def capture_tables(
        self, tables_to_scan: Sequence[SourceTable], last: Manifest | None, *, everything: bool
    ) -> tuple[Table, ...]:
        """Return the tables, with the files of what changed since the batch `last`.

        With `everything`, all rows are captured. Raises SourceError if more than half of a table
        was deleted and that is not accepted, and LakeError if its live keys can't be read.
        """
        plans = [self._plan_table(table, last, everything=everything) for table in tables_to_scan]
        with ExitStack() as stack:
            scan = stack.enter_context(Scan(self._snapshot, self._files, self._progress))
            pool = stack.enter_context(_open_pool(self._snapshot.scope.connections))
            stack.callback(scan.stop)
            tables: dict[str, Table] = {}
            while plans:
                captured = self._read_tables(pool, scan, plans)
                tables |= {table.name: table for table in captured if table is not None}
                plans = [plan.for_all_rows() for plan in plans if plan.table.name not in tables]
        return tuple(tables[name] for name in sorted(tables))

    def _plan_table(self, table: SourceTable, last: Manifest | None, *, everything: bool) -> Plan:
        if last is None:
            return Plan(table, None, horizon=None)
        previous = last.table(table.name)
        if previous is None or previous.key != table.key or everything:
            # Keys of an earlier batch that are missing now were deleted, however long ago.
            return Plan(table, last.last_table(table.name, table.key), horizon=None)
        if previous.fingerprint != table.fingerprint:
            log.info(
                "Table %s was altered since batch %d: captured in full.", table.name, last.batch
            )
            return Plan(table, previous, horizon=None)
        overlap = self._files.fetch(previous.overlap) if previous.overlap else None
        horizon = Horizon(snapshot_xmin(last.snapshot), self._snapshot.xmax)
        return Plan(table, previous, horizon, overlap)

    def _read_tables(
        self, pool: ThreadPoolExecutor, scan: Scan, plans: Sequence[Plan]
    ) -> Iterator[Table | None]:
        # Computed before the pool's threads use the connection.
        ranges = scan.split_tables(plans)
        futures = [
            [pool.submit(scan.read_piece, plan, piece) for piece in table_ranges.pieces]
            for plan, table_ranges in zip(plans, ranges, strict=True)
        ]
        scanned = [
            ScannedTable(table_ranges, [future.result() for future in table_futures])
            for table_ranges, table_futures in zip(ranges, futures, strict=True)
        ]
        return pool.map(lambda *of_table: self._finish_table(scan, *of_table), plans, scanned)

    def _finish_table(self, scan: Scan, plan: Plan, scanned: ScannedTable) -> Table | None:
        """Return the table's manifest entry; None if all of its rows must be read again."""
        pieces, rows = scanned.pieces, scanned.rows.total()
        changed = sum(piece.changed for piece in pieces)
        content_digest = None
        if plan.horizon is None and not plan.table.key:
            content_digest = str(sum(piece.content_hash for piece in pieces))
        if plan.previous is not None and _is_unchanged(
            plan, plan.previous, rows, changed, content_digest
        ):
            return plan.previous.model_copy(update=UNCHANGED)
        if not plan.table.key and plan.horizon is not None:
            return None
        with scan.failing_together(), self._key_errors(plan):
            stored_files = [stored for piece in pieces for stored in piece.stored_files]
            remainder = scan.new_rows()
            for piece in pieces:
                if piece.remainder.count:
                    remainder.move_from(piece.remainder)
            if remainder.count:
                stored_files.append(scan.store_rows(plan, remainder))
            table = Table(
                name=plan.table.name,
                columns=tuple(column.to_manifest() for column in plan.table.columns),
                key=plan.table.key,
                fingerprint=plan.table.fingerprint,
                whole=plan.horizon is None,
                files=tuple(stored.file for stored in stored_files if stored.file),
                rows=rows,
                content_digest=content_digest,
            )
            with scan.engine() as engine:
                keys = TableKeys(engine, plan.table)
                keys.define_captured([stored.keys for stored in stored_files if stored.keys])
                if plan.table.key:
                    return self._add_keys(scan, keys, plan, scanned, table, stored_files)
                unreadable = self._write_unreadable(table, keys, stored_files)
                return table.model_copy(update={"unreadable": unreadable})

    @contextmanager
    def _key_errors(self, plan: Plan) -> Iterator[None]:
        """Convert an error of DuckDB to a LakeError: keys can't be read, or can't be written."""
        try:
            yield
        except duckdb.Error as error:
            reason = first_line(error)
            if files := self._key_files(plan):
                raise LakeError(
                    f"The live keys of table {plan.table.name} can't be read ({reason}): restore "
                    f"{', '.join(files)} from a backup."
                ) from error
            raise LakeError(
                f"The keys of table {plan.table.name} can't be written ({reason}): free space in "
                "the temporary folder."
            ) from error

    @staticmethod
    def _key_files(plan: Plan) -> list[str]:
        previous = plan.previous
        if previous is None:
            return []
        side_files = filter(None, [previous.overlap, previous.unreadable])
        return [file.path for file in (*previous.keys, *side_files)]

    def _add_keys(  # noqa: PLR0913, PLR0917  what was planned, scanned and stored
        self,
        scan: Scan,
        keys: TableKeys,
        plan: Plan,
        scanned: ScannedTable,
        table: Table,
        stored_files: list[StoredFile],
    ) -> Table | None:
        """Add deletions and the key files for the next capture; None as in `_finish_table`."""
        previous = plan.previous if plan.previous and plan.previous.key == table.key else None
        key_files = previous.keys if previous else ()
        keys.define_live(
            [self._files.fetch(file) for file in key_files if file.kind == "base"],
            [self._files.fetch(file) for file in key_files if file.kind == "change"],
        )
        live_rows = previous.rows if previous else 0
        if plan.table.has_children:
            with scan.connection() as connection:
                keys.check_unique(connection, live_rows, whole=table.whole)
        changed = 0 if table.whole else keys.find_added_or_moved()
        deleted = find_deleted(scan, self._files, keys, table, scanned, previous)
        if deleted is None:
            return None
        files = table.files
        if deleted:
            if not self._accept_deletes:
                check_share(table.name, deleted, live_rows)
            files += (store_deleted(self._files, table.name, keys, deleted),)
        return table.model_copy(
            update={
                "files": files,
                "keys": store_live_keys(
                    self._files, table.name, keys, key_files, changed + deleted
                ),
                "relfilenodes": (
                    scanned.split if keys.has_read_all else previous or table
                ).relfilenodes,
                "overlap": self._write_overlap(table, keys),
                "unreadable": self._write_unreadable(table, keys, stored_files, previous),
            }
        )

    def _write_unreadable(
        self,
        table: Table,
        keys: TableKeys,
        stored_files: list[StoredFile],
        previous: Table | None = None,
    ) -> File | None:
        """Store the table's unreadable values, including those of rows not captured now."""
        last_file = previous.unreadable if previous and not table.whole else None
        new = [stored.unreadable for stored in stored_files if stored.unreadable]
        if not (last_file or new):
            return None
        lines, path = self._files.new_path("jsonl"), self._files.new_path("parquet")
        with lines.open("wb") as file:
            for values in new:
                file.write(values.read_bytes())
                values.unlink()
        fetched = self._files.fetch(last_file) if last_file else None
        rows = keys.write_unreadable(lines, fetched, path)
        return self._files.put_parquet(table.name, "unreadable", path, rows) if rows else None

    def _write_overlap(self, table: Table, keys: TableKeys) -> File | None:
        if self._snapshot.xmin == self._snapshot.xmax:
            return None  # no transaction is running: the next capture reads no row again
        path = self._files.new_path("parquet")
        rows = keys.write_overlap(self._snapshot.xmin, path)
        return self._files.put_parquet(table.name, "overlap", path, rows) if rows else None


@contextmanager
def _open_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield threads for the readers; after an error, waiting tasks are cancelled."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _is_unchanged(
    plan: Plan, previous: Table, rows: int, changed: int, content_digest: str | None
) -> bool:
    """Whether the table has not changed since the last batch."""
    if previous.rows != rows or previous.fingerprint != plan.table.fingerprint:
        return False
    return (
        changed == 0
        if plan.horizon
        else content_digest is not None and content_digest == previous.content_digest
    )
