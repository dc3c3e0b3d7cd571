"""Erase a person's data from a lake whose objects are never changed.

A new ingestion store is written, batch by batch. In it, all versions of one row have the values of
the newest version in the given columns. This needs read access to the old store, and an empty
store. The operator deletes the old store afterwards.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from isal import igzip

from totes.duckdb_engine import open_engine, scratch_folder
from totes.errors import UsageError
from totes.lake.line import is_upsert, order_in_log
from totes.lake.manifest import ERASURES_PREFIX, File, Manifest, Table, manifest_path
from totes.lake.manifests import fetch_verified, find_newest_number, read_manifest
from totes.lake.store import Store
from totes.progress import NO_PROGRESS, Progress
from totes.sql_text import literal
from totes.star.relation import unpack

log = logging.getLogger(__name__)

ERASED = "erased"
"""Replaces a value if its row, table or column no longer exists in the source."""


@dataclass(frozen=True)
class Erasure:
    """The values to erase: `columns` of the row of `table` with this key."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class ErasureResult:
    """The numbers of batches that were written and of versions that were altered."""

    batches: int
    versions: int


def erase(
    ingestion: Store, into: Store, erasure: Erasure, progress: Progress = NO_PROGRESS
) -> ErasureResult:
    """Copy an ingestion store into an empty one, with the erasure.

    Raises UsageError if there is no such row or column, or if `into` has batches.
    """
    last = find_newest_number(ingestion, manifest_path)
    if last and into.exists(manifest_path(1)):
        raise UsageError(f"{into.url} has batches already: erase into an empty store.")
    with scratch_folder("erase") as scratch:
        rewriter = _Rewriter(ingestion, into, erasure, scratch)
        key, values = rewriter.find_newest_values(last)
        digest, altered = None, 0
        progress.start("erase", last)
        for batch in range(1, last + 1):
            manifest, _ = read_manifest(ingestion, batch)
            versions, new_manifest = rewriter.rewrite(manifest, key, values)
            altered += versions
            content = new_manifest.model_copy(update={"previous": digest}).to_json()
            into.create(manifest_path(batch), content)
            digest = hashlib.sha256(content).hexdigest()
            progress.advance(1)
    now = datetime.now(UTC)
    note = {
        "at": now.isoformat(),
        "table": erasure.table,
        "key": erasure.key,
        "columns": erasure.columns,
        "batches": last,
        "versions": altered,
    }
    into.create(f"{ERASURES_PREFIX}/{now:%Y%m%d%H%M%S%f}.json", json.dumps(note, indent=1).encode())
    log.info("Erased: %s", json.dumps(note))
    if not altered:
        log.warning("Nothing was altered: all versions have the values of the newest version.")
    return ErasureResult(last, altered)


@dataclass(frozen=True)
class _Rewriter:
    ingestion: Store
    into: Store
    erasure: Erasure
    scratch: Path
    unreadable_files: dict[str, File | None] = field(default_factory=dict)
    """The new lists of the table's unreadable values, by the path of the old ones."""

    def find_newest_values(self, last: int) -> tuple[tuple[str, ...], dict[str, object]]:
        """Return the table's key, and the values of the newest version of the row.

        A value is ERASED if the row was deleted, or if the table or column no longer exists.
        """
        key, table_exists = self._find_key(last)
        for batch in range(last, 0, -1):
            table = self._read_table(batch)
            lines = self._read_lines(table) if table else iter(())
            rows = filter(None, (_parse_if_row(key, self.erasure.key, line) for line in lines))
            if row := max(rows, key=order_in_log, default=None):
                values = row if table_exists and is_upsert(row) else {}
                return key, {name: values.get(name, ERASED) for name in self.erasure.columns}
        raise UsageError(
            f"No batch of {self.ingestion.url} has a row {', '.join(self.erasure.key)} of table "
            f"{self.erasure.table}."
        )

    def _find_key(self, last: int) -> tuple[tuple[str, ...], bool]:
        """Return the table's latest key, and whether the table still exists.

        Raises UsageError if the erasure does not fit the table. Also if the table had no such key
        in an earlier batch: its rows there could not be found, and would not be erased.
        """
        newest: Table | None = None
        versions: dict[str, Table] = {}
        for batch in range(1, last + 1):
            if table := self._read_table(batch):
                newest = versions[table.fingerprint] = table
        if newest is None:
            return (), False
        columns = [column for table in versions.values() for column in table.columns]
        erasable = {column.name for column in columns if column.kind == "text"} - {*newest.key}
        if len(newest.key) != len(self.erasure.key) or not set(self.erasure.columns) <= erasable:
            raise UsageError(
                f"Table {newest.name} has the key ({', '.join(newest.key)}), and the columns that "
                f"can be erased are: {', '.join(sorted(erasable)) or 'none'}."
            )
        for table in versions.values():
            if missing := {*newest.key} - {column.name for column in table.columns}:
                raise UsageError(
                    f"Table {table.name} had no column {', '.join(sorted(missing))} in earlier "
                    "batches, so the row can't be identified there."
                )
        return newest.key, self._read_table(last) is not None

    def _read_table(self, batch: int) -> Table | None:
        return read_manifest(self.ingestion, batch)[0].table(self.erasure.table)

    def rewrite(
        self, manifest: Manifest, key: tuple[str, ...], values: dict[str, object]
    ) -> tuple[int, Manifest]:
        """Write a batch's files; return the number of altered versions and the new manifest."""
        altered, tables = 0, []
        for table in manifest.tables:
            files = []
            for file in table.files:
                count = 0
                if table.name == self.erasure.table:
                    count, file = self._erase(table, file, key, values)  # noqa: PLW2901
                if not count:
                    self._copy(file)
                files.append(file)
                altered += count
            unreadable = self._rewrite_unreadable(table)
            tables.append(
                table.model_copy(update={"files": tuple(files), "unreadable": unreadable})
            )
        for table in (*tables, *(former.table for former in manifest.former)):
            for file in (*table.keys, *filter(None, [table.overlap, table.unreadable])):
                self._copy(file)
        return altered, manifest.model_copy(update={"tables": tuple(tables)})

    def _erase(
        self, table: Table, file: File, key: tuple[str, ...], values: dict[str, object]
    ) -> tuple[int, File]:
        """Write a file with the erasure if it has the row; return how many lines were altered."""
        path, count, size = self.scratch / "rewritten", 0, 0
        with igzip.open(path, "wb", 1) as packed:  # type: ignore[no-untyped-call]
            for line in self._read_lines(table.model_copy(update={"files": (file,)})):
                row, content = _parse_if_row(key, self.erasure.key, line), line
                if row is not None and is_upsert(row):
                    present = {name: value for name, value in values.items() if name in row}
                    text = json.dumps(row | present, ensure_ascii=False, separators=(",", ":"))
                    content = text.encode() + b"\n"
                    count += content != line
                size += packed.write(content)
        if count:
            with path.open("rb") as rewritten:
                sha256 = hashlib.file_digest(rewritten, "sha256").hexdigest()
            fields = {"bytes": path.stat().st_size, "unpacked_bytes": size, "sha256": sha256}
            self.into.put(file.path, path)
            return count, file.model_copy(update=fields)
        return 0, file

    def _rewrite_unreadable(self, table: Table) -> File | None:
        """Write the list of unreadable values without this row: a reason may quote its value."""
        file = table.unreadable
        if file is None or table.name != self.erasure.table:
            return file
        if file.path not in self.unreadable_files:
            old, new = self.scratch / "old.parquet", self.scratch / "new.parquet"
            fetch_verified(self.ingestion, file, old)
            is_row = " and ".join(f"k{n}::varchar = ?" for n in range(len(table.key)))
            with open_engine(self.scratch) as engine:
                [(rows,)] = engine.execute(
                    f"copy (select * from read_parquet({literal(str(old))})"
                    f" where not ({is_row})) to {literal(str(new))} (format parquet)",
                    list(self.erasure.key),
                ).fetchall()
            with new.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            fields = {"rows": rows, "bytes": new.stat().st_size, "sha256": sha256}
            if rows:
                self.into.put(file.path, new)
            self.unreadable_files[file.path] = file.model_copy(update=fields) if rows else None
        return self.unreadable_files[file.path]

    def _copy(self, file: File) -> None:
        """Copy a file unaltered, unless it is copied already: several batches may name it."""
        if not self.into.exists(file.path):
            path = self.scratch / "copy"
            fetch_verified(self.ingestion, file, path)
            self.into.put(file.path, path)

    def _read_lines(self, table: Table) -> Iterator[bytes]:
        """Yield the lines of a table's files, which are checked against their manifest."""
        for file in table.files:
            path = self.scratch / "fetched"
            fetch_verified(self.ingestion, file, path)
            one = table.model_copy(update={"files": (file,)})
            [unpacked] = unpack(one, [path], self.ingestion.url, read=None).paths
            with unpacked.open("rb") as content:
                yield from content


def _parse_if_row(
    names: tuple[str, ...], key: tuple[str, ...], line: bytes
) -> dict[str, object] | None:
    """Return the line's values if it belongs to the row with this key, otherwise None."""
    values: dict[str, object] = json.loads(line)
    return values if key == tuple(str(values.get(name)) for name in names) else None
