"""The files of one batch: written in a local folder, then stored in the ingestion store."""

import hashlib
import itertools
import secrets
import shutil
from datetime import datetime
from pathlib import Path

from isal import igzip

from totes.failpoint import reach
from totes.lake.manifest import File, data_path, table_folder
from totes.lake.manifests import fetch_verified
from totes.lake.store import Store
from totes.lake.unfinished import UnfinishedBatch


class BatchFiles:
    """Writes files under unique names: batch number, id of this attempt, and a counter.

    Another process that captures the same batch never uses the same names.
    """

    def __init__(self, store: Store, scratch: Path, batch: int, captured_at: datetime) -> None:
        self.scratch = scratch
        self.store_url = store.url
        self.batch = batch
        self.captured_at = captured_at
        self.attempt = f"{batch:012d}-{secrets.token_hex(4)}"
        self.unfinished = UnfinishedBatch(store, batch)
        self._store = store
        self._numbers = itertools.count()

    def new_path(self, suffix: str) -> Path:
        """Return the path for a new local file."""
        return self.scratch / f"{secrets.token_hex(8)}.{suffix}"

    def fetch(self, file: File) -> Path:
        """Copy a stored file, check it, and return the copy's path."""
        path = self.new_path("parquet" if file.path.endswith(".parquet") else "gz")
        fetch_verified(self._store, file, path)
        return path

    def put_lines(
        self, table: str, lines: Path, *, rows: int, deletes: int = 0, unreadable: int = 0
    ) -> File:
        """Store a local file of JSON Lines, compressed, and delete it; return its manifest entry.

        `rows`, `deletes` and `unreadable` are the numbers of all lines, of delete lines, and of
        lines with unreadable values.
        """
        packed = self.new_path("gz")
        # Level 1 of igzip compresses as fast as the source sends rows; higher levels are slower.
        with lines.open("rb") as plain, igzip.open(packed, "wb", 1) as compressed:  # type: ignore[no-untyped-call]
            shutil.copyfileobj(plain, compressed, 1 << 20)
        unpacked_bytes = lines.stat().st_size
        lines.unlink()
        key = data_path(table, self.captured_at, self._name("jsonl.gz"))
        file = self._put(key, packed, rows, deletes)
        return file.model_copy(update={"unpacked_bytes": unpacked_bytes, "unreadable": unreadable})

    def put_parquet(self, table: str, prefix: str, path: Path, rows: int) -> File:
        """Store a local Parquet file below `prefix`, and delete it; return its manifest entry."""
        return self._put(f"{prefix}/{table_folder(table)}/{self._name('parquet')}", path, rows)

    def _name(self, suffix: str) -> str:
        return f"{self.attempt}-{next(self._numbers)}.{suffix}"

    def _put(self, key: str, path: Path, rows: int, deletes: int = 0) -> File:
        with path.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        file = File(path=key, rows=rows, deletes=deletes, bytes=path.stat().st_size, sha256=sha256)
        reach("ingest.before-file")
        self._store.put(key, path)
        reach("ingest.file-stored")
        path.unlink()
        return file
