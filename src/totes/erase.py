"""Erase: what an operator does about a person's data in a lake that is never changed.

It isn't changed here either: a new ingestion store is written, batch by batch, in which every
earlier version of one row says in the chosen columns what the newest one says. Who runs it needs
read access to the old store and a new, empty one; removing the old store is the operator's act.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from isal import igzip

from totes.batch import ERASURES, File, Manifest, Table, manifest_path
from totes.errors import UsageError
from totes.lake.log import fetch_checked, newest, read_manifest
from totes.lake.store import Store
from totes.progress import QUIET, Progress

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
    with TemporaryDirectory(prefix="totes-erase-") as folder:
        work = _Work(ingestion, into, erasure, Path(folder))
        values = work.newest_values(last)
        digest, altered = None, 0
        progress.start("erase", last)
        for batch in range(1, last + 1):
            manifest, _ = read_manifest(ingestion, batch)
            versions, anew = work.rewritten(manifest, values)
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
    return Erased(last, altered)


@dataclass(frozen=True)
class _Work:
    ingestion: Store
    into: Store
    erasure: Erasure
    folder: Path

    def newest_values(self, last: int) -> dict[str, object]:
        """What the newest version says in the columns; a deleted row says ERASED."""
        for batch in range(last, 0, -1):
            table = read_manifest(self.ingestion, batch)[0].table(self.erasure.table)
            if table is None:
                continue
            self._check(table)
            for file in table.files:
                for line in self._lines(file):
                    found = self._row(table, line)
                    if found is not None and found["_op"] == "delete":
                        return dict.fromkeys(self.erasure.columns, ERASED)
                    if found is not None:
                        return {name: found.get(name) for name in self.erasure.columns}
        raise UsageError(
            f"No batch of {self.ingestion.url} has a row {', '.join(self.erasure.key)} of table "
            f"{self.erasure.table}."
        )

    def _check(self, table: Table) -> None:
        texts = {column.name for column in table.columns if column.kind == "text"} - {*table.key}
        if len(table.key) != len(self.erasure.key) or not set(self.erasure.columns) <= texts:
            raise UsageError(
                f"Table {table.name} is known by ({', '.join(table.key)}), and what can be erased "
                f"is {', '.join(sorted(texts)) or 'nothing'}."
            )

    def rewritten(self, manifest: Manifest, values: dict[str, object]) -> tuple[int, Manifest]:
        """A batch with all its files stored anew, and how many versions were altered."""
        altered, tables = 0, []
        for table in manifest.tables:
            files = []
            for file in table.files:
                count = 0
                if table.name == self.erasure.table:
                    count, file = self._erased(table, file, values)  # noqa: PLW2901
                if not count:
                    self._copy(file)
                files.append(file)
                altered += count
            tables.append(table.model_copy(update={"files": tuple(files)}))
        for table in (*manifest.tables, *(former.table for former in manifest.former)):
            for file in (*table.keys, *filter(None, [table.repeats])):
                self._copy(file)
        return altered, manifest.model_copy(update={"tables": tuple(tables)})

    def _erased(self, table: Table, file: File, values: dict[str, object]) -> tuple[int, File]:
        path, count, size = self.folder / "anew", 0, 0
        with igzip.open(path, "wb", 1) as packed:  # type: ignore[no-untyped-call]
            for line in self._lines(file):
                found, content = self._row(table, line), line
                if found is not None and found["_op"] == "upsert":
                    there = {name: value for name, value in values.items() if name in found}
                    text = json.dumps(found | there, ensure_ascii=False, separators=(",", ":"))
                    content = text.encode() + b"\n"
                    count += content != line
                size += packed.write(content)
        if count:
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            known = {"bytes": len(content), "unpacked_bytes": size, "sha256": sha256}
            self.into.put(file.path, path)
            return count, file.model_copy(update=known)
        return 0, file

    def _copy(self, file: File) -> None:
        """A file as it is; several batches may name it."""
        if not self.into.exists(file.path):
            path = self.folder / "copy"
            fetch_checked(self.ingestion, file, path)
            self.into.put(file.path, path)

    def _lines(self, file: File) -> Iterator[bytes]:
        path = self.folder / "fetched"
        fetch_checked(self.ingestion, file, path)
        with igzip.open(path, "rb") as content:  # type: ignore[no-untyped-call]
            yield from content

    def _row(self, table: Table, line: bytes) -> dict[str, object] | None:
        """The line, if it is of the row to be erased."""
        found: dict[str, object] = json.loads(line)
        return found if _key(table.key, found) == self.erasure.key else None


def _key(names: Sequence[str], line: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(line[name]) for name in names)
