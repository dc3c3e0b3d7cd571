"""Find and delete orphaned files: files of interrupted or failed attempts that no manifest names.

They only take up space, as readers see only files that a manifest names. The name of a data file
has the number of its batch. Once that batch is published without the file, it is orphaned. Before
that, it may belong to an attempt that is running, and is not deleted, whatever its age.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from totes.lake.folder import INCOMPLETE
from totes.lake.manifest import (
    PARTITION,
    UNFINISHED_PREFIX,
    File,
    Manifest,
    ProcessedManifest,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.manifests import find_newest_number, read_manifest, read_processed_manifest
from totes.lake.store import DeletableStore, ObjectInfo

MIN_AGE = timedelta(hours=1)
"""Files that are younger are never deleted."""

_ATTEMPT = re.compile(
    r"(?:(?:keys|overlap|unreadable)/[^/]+"
    r"|(?:generation=(?P<generation>[1-9]\d{0,8})/(?:(?:state|quarantine)/)?)?"
    rf"[^/]+/{PARTITION}=\d{{4}}-\d\d-\d\d)"
    r"/(?P<batch>\d{12})-[0-9a-f]{8}-\d+\.(?:jsonl\.gz|parquet)"
    rf"|{UNFINISHED_PREFIX}/(?P<unfinished>\d{{12}})/[0-9a-f]{{64}}(?:/[^/]+/[^/]+)?\.json"
)
"""The keys of data files, and of the records of an unpublished batch's files (`lake.unfinished`).

A longer key with this suffix may belong to a store inside this one.
"""

_SPARK_ATTEMPT = re.compile(
    r"generation=(?P<generation>[1-9]\d{0,8})/(?:quarantine/)?[^/]+/spark-[0-9a-f]{8}"
    r"/(?:_temporary/.+/)?totes_batch=(?P<batch>\d{1,12})/[^/]+\.parquet"
)
"""The keys of files that executors of Spark have written, whether an attempt has ended or not."""


@dataclass(frozen=True)
class OrphanedFile:
    """An object of the store at `url` that no manifest names or will name."""

    url: str
    key: str
    size_bytes: int
    modified_at: datetime

    def age(self, now: datetime) -> timedelta:
        """Return how long ago the object was written; negative if clocks differ."""
        return now - self.modified_at


def find_orphaned_files(store: DeletableStore) -> Iterator[OrphanedFile]:
    """Yield all orphaned files of an ingestion or processed store in the order of their keys.

    Reads every manifest; raises LakeError if one can't be read.
    """
    objects = list(
        store.list_objects()
    )  # before the manifests, so that none is published in between
    published: dict[int, _Published] = {}
    for item in objects:
        if item.key.startswith(f"{INCOMPLETE}/"):
            yield _orphaned_file(store, item)
        elif attempt := _ATTEMPT.fullmatch(item.key) or _SPARK_ATTEMPT.fullmatch(item.key):
            generation = int(attempt["generation"] or 0)
            if generation not in published:
                published[generation] = _read_published(store, generation)
            batches, named_keys = published[generation]
            batch = int(attempt["batch"] or attempt["unfinished"])
            if batch <= batches and item.key not in named_keys:
                yield _orphaned_file(store, item)


def delete_orphaned_files(
    store: DeletableStore,
    orphaned_files: Iterable[OrphanedFile],
    older_than: timedelta,
    now: datetime | None = None,
) -> Iterator[OrphanedFile]:
    """Delete the files that are older than `older_than` and MIN_AGE; yield the deleted ones."""
    now = now or datetime.now(UTC)
    for file in orphaned_files:
        if file.age(now) > max(older_than, MIN_AGE):
            store.delete(file.key)
            yield file


type _Published = tuple[int, frozenset[str]]
"""The newest batch, and the keys of all files that manifests name."""


def _read_published(store: DeletableStore, generation: int) -> _Published:
    """Return the files of one generation of the processed store; 0 is the ingestion store."""
    if generation:
        return _collect_keys(
            find_newest_number(store, lambda batch: processed_manifest_path(generation, batch)),
            lambda batch: _files_of_processed(read_processed_manifest(store, generation, batch)[0]),
        )
    return _collect_keys(
        find_newest_number(store, manifest_path),
        lambda batch: _files(read_manifest(store, batch)[0]),
    )


def _collect_keys(batches: int, files: Callable[[int], Iterable[File]]) -> _Published:
    return batches, frozenset(file.path for batch in range(1, batches + 1) for file in files(batch))


def _files(manifest: Manifest) -> Iterator[File]:
    for table in chain(manifest.tables, (former.table for former in manifest.former)):
        yield from table.files
        yield from table.keys
        yield from filter(None, [table.overlap, table.unreadable])


def _files_of_processed(manifest: ProcessedManifest) -> Iterator[File]:
    return chain(manifest.files, manifest.rejected, *manifest.state.values())


def _orphaned_file(store: DeletableStore, item: ObjectInfo) -> OrphanedFile:
    return OrphanedFile(store.url, item.key, item.size_bytes, item.modified_at)
