"""Erase: what an operator does about a person's data in a lake that is never changed.

It isn't changed here either: a new ingestion store is written, batch by batch, in which every
earlier version of one row says in the chosen columns what the newest one says. Who runs it needs
read access to the old store and a new, empty one; removing the old store is the operator's act.
"""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from isal import igzip

from totes.engine import open_engine, scratch_folder
from totes.errors import UsageError
from totes.lake.log import fetch_checked, newest, read_manifest
from totes.lake.manifest import ERASURES, File, Manifest, Table, manifest_path
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.star.contract import literal
from totes.star.relation import unpack

log = logging.getLogger(__name__)

ERASED = "erased"
"""What stands in place of a value whose row the source has no more."""


@dataclass(frozen=True)
class Erasure:
    """Which values go: those of `columns`, of the row of `table` with this key."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Erased:
    """What was written: batches in all, and versions of the row that were altered."""

    batches: int
    versions: int


def erase(ingestion: Store, into: Store, erasure: Erasure, progress: Progress = QUIET) -> Erased:
    """Write the ingestion store anew into an empty one, with the erasure.

    UsageError where there is no such row with such columns, or `into` has batches already.
    """
    last = newest(ingestion, manifest_path)
    if last and into.exists(manifest_path(1)):
        raise UsageError(f"{into.url} has batches already: erase into an empty store.")
    with scratch_folder("totes-erase-") as scratch:
        work = _Work(ingestion, into, erasure, scratch)
        key, values = work.newest(last)
        digest, altered = None, 0
        progress.start("erase", last)
        for batch in range(1, last + 1):
            manifest, _ = read_manifest(ingestion, batch)
            versions, anew = work.rewritten(manifest, key, values)
            altered += versions
            content = anew.model_copy(update={"previous": digest}).to_json()
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
    into.create(f"{ERASURES}/{now:%Y%m%d%H%M%S%f}.json", json.dumps(note, indent=1).encode())
    log.info("Erased: %s", json.dumps(note))
    if not altered:
        log.warning("Nothing was altered: every version says what the newest says.")
    return Erased(last, altered)


@dataclass(frozen=True)
class _Work:
    ingestion: Store
    into: Store
    erasure: Erasure
    scratch: Path
    listed: dict[str, File | None] = field(default_factory=dict)
    """The new lists of the table's unreadable values, by the path of the old ones."""

    def newest(self, last: int) -> tuple[tuple[str, ...], dict[str, object]]:
        """The table's key, and what the newest version of the row says in the columns.

        ERASED where the row was deleted, or totesys has the table or the column no more.
        """
        key, is_there = self._key(last)
        for batch in range(last, 0, -1):
            table = self._table(batch)
            for line in self._lines(table) if table else ():
                found = _row(key, self.erasure.key, line)
                if found is not None:
                    said = found if is_there and found["_op"] == "upsert" else {}
                    return key, {name: said.get(name, ERASED) for name in self.erasure.columns}
        raise UsageError(
            f"No batch of {self.ingestion.url} has a row {', '.join(self.erasure.key)} of table "
            f"{self.erasure.table}."
        )

    def _key(self, last: int) -> tuple[tuple[str, ...], bool]:
        """The key that the table has or had last, and whether it is still there.

        UsageError where the erasure can't be meant, or an earlier shape has rows that this key
        doesn't tell: nobody must believe that these were erased.
        """
        newest: Table | None = None
        shapes: dict[str, Table] = {}
        for batch in range(1, last + 1):
            if table := self._table(batch):
                newest = shapes[table.fingerprint] = table
        if newest is None:
            return (), False
        columns = [column for table in shapes.values() for column in table.columns]
        texts = {column.name for column in columns if column.kind == "text"} - {*newest.key}
        if len(newest.key) != len(self.erasure.key) or not set(self.erasure.columns) <= texts:
            raise UsageError(
                f"Table {newest.name} is known by ({', '.join(newest.key)}), and what can be "
                f"erased is {', '.join(sorted(texts)) or 'nothing'}."
            )
        for table in shapes.values():
            if lacking := {*newest.key} - {column.name for column in table.columns}:
                raise UsageError(
                    f"Table {table.name} once had no {', '.join(sorted(lacking))}: which of its "
                    "rows of that time are meant can't be told."
                )
        return newest.key, self._table(last) is not None

    def _table(self, batch: int) -> Table | None:
        return read_manifest(self.ingestion, batch)[0].table(self.erasure.table)

    def rewritten(
        self, manifest: Manifest, key: tuple[str, ...], values: dict[str, object]
    ) -> tuple[int, Manifest]:
        """A batch with all its files stored anew, and how many versions were altered."""
        altered, tables = 0, []
        for table in manifest.tables:
            files = []
            for file in table.files:
                count = 0
                if table.name == self.erasure.table:
                    count, file = self._erased(table, file, key, values)  # noqa: PLW2901
                if not count:
                    self._copy(file)
                files.append(file)
                altered += count
            unreadable = self._unreadable(table)
            tables.append(
                table.model_copy(update={"files": tuple(files), "unreadable": unreadable})
            )
        for table in (*tables, *(former.table for former in manifest.former)):
            for file in (*table.keys, *filter(None, [table.repeats, table.unreadable])):
                self._copy(file)
        return altered, manifest.model_copy(update={"tables": tuple(tables)})

    def _erased(
        self, table: Table, file: File, key: tuple[str, ...], values: dict[str, object]
    ) -> tuple[int, File]:
        path, count, size = self.scratch / "anew", 0, 0
        with igzip.open(path, "wb", 1) as packed:  # type: ignore[no-untyped-call]
            for line in self._lines(table.model_copy(update={"files": (file,)})):
                found, content = _row(key, self.erasure.key, line), line
                if found is not None and found["_op"] == "upsert":
                    there = {name: value for name, value in values.items() if name in found}
                    text = json.dumps(found | there, ensure_ascii=False, separators=(",", ":"))
                    content = text.encode() + b"\n"
                    count += content != line
                size += packed.write(content)
        if count:
            with path.open("rb") as anew:
                sha256 = hashlib.file_digest(anew, "sha256").hexdigest()
            known = {"bytes": path.stat().st_size, "unpacked_bytes": size, "sha256": sha256}
            self.into.put(file.path, path)
            return count, file.model_copy(update=known)
        return 0, file

    def _unreadable(self, table: Table) -> File | None:
        """The list of a table's unreadable values without this row's: reasons may quote values."""
        file = table.unreadable
        if file is None or table.name != self.erasure.table:
            return file
        if file.path not in self.listed:
            known, left = self.scratch / "known.parquet", self.scratch / "left.parquet"
            fetch_checked(self.ingestion, file, known)
            of_row = " and ".join(f"k{n}::varchar = ?" for n in range(len(table.key)))
            with open_engine(self.scratch) as engine:
                [(rows,)] = engine.execute(
                    f"copy (select * from read_parquet({literal(str(known))})"
                    f" where not ({of_row})) to {literal(str(left))} (format parquet)",
                    list(self.erasure.key),
                ).fetchall()
            with left.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            counted = {"rows": rows, "bytes": left.stat().st_size, "sha256": sha256}
            if rows:
                self.into.put(file.path, left)
            self.listed[file.path] = file.model_copy(update=counted) if rows else None
        return self.listed[file.path]

    def _copy(self, file: File) -> None:
        """A file as it is; several batches may name it."""
        if not self.into.exists(file.path):
            path = self.scratch / "copy"
            fetch_checked(self.ingestion, file, path)
            self.into.put(file.path, path)

    def _lines(self, table: Table) -> Iterator[bytes]:
        """The lines of a table's files, checked to be what their manifest says."""
        for file in table.files:
            path = self.scratch / "fetched"
            fetch_checked(self.ingestion, file, path)
            one = table.model_copy(update={"files": (file,)})
            [unpacked] = unpack(one, [path], self.ingestion.url, read=None).paths
            with unpacked.open("rb") as content:
                yield from content


def _row(names: tuple[str, ...], key: tuple[str, ...], line: bytes) -> dict[str, object] | None:
    """The line, if it is of the row with this key; a deletion by another key tells nothing."""
    found: dict[str, object] = json.loads(line)
    return found if key == tuple(str(found.get(name)) for name in names) else None
