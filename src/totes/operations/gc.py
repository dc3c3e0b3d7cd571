"""Orphans: files of attempts that were killed or came second, which no manifest names.

They cost room and nothing else, for readers see only what a manifest names. A data file bears the
number of the batch it was made for, so once that batch is published without it, it is an orphan
for good; before that it may belong to an attempt at work, and is left alone whatever its age.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain

from totes.lake.folder import INCOMING
from totes.lake.log import newest, read_manifest, read_processed_manifest
from totes.lake.manifest import (
    File,
    Manifest,
    ProcessedManifest,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.store import Object, SweptStore

SHORTEST = timedelta(hours=1)
"""Nothing younger is ever removed."""

_ATTEMPT = re.compile(
    r"(?:(?:keys|repeats|unreadable)/[^/]+"
    r"|(?:generation=(?P<generation>[1-9]\d{0,8})/(?:(?:state|quarantine)/)?)?"
    r"[^/]+/year=\d{4}/month=\d\d/day=\d\d)"
    r"/(?P<batch>\d{12})-[0-9a-f]{8}-\d+\.(?:jsonl\.gz|parquet)"
)
"""A whole key as the stages make it: what lies deeper may be of another store, inside this one."""


@dataclass(frozen=True)
class Orphan:
    """An object of the store at `url` that nothing names and nothing ever will."""

    url: str
    key: str
    size_bytes: int
    modified_at: datetime

    def age(self, now: datetime) -> timedelta:
        """How long ago the object was written; negative if the clocks disagree."""
        return now - self.modified_at


def orphans(store: SweptStore) -> Iterator[Orphan]:
    """All orphans of an ingestion or processed store, in the order of their keys.

    Every manifest is read: LakeError where one can't be, and then nothing is known to be an orphan.
    """
    found = list(store.objects())  # before the manifests, so that none is published in between
    published: dict[int, _Published] = {}
    for one in found:
        if one.key.startswith(f"{INCOMING}/"):
            yield _orphan(store, one)
        elif attempt := _ATTEMPT.fullmatch(one.key):
            generation = int(attempt["generation"] or 0)
            if generation not in published:
                published[generation] = _published(store, generation)
            batches, named = published[generation]
            if int(attempt["batch"]) <= batches and one.key not in named:
                yield _orphan(store, one)


def remove(
    store: SweptStore, found: Iterable[Orphan], older_than: timedelta, now: datetime | None = None
) -> Iterator[Orphan]:
    """Remove those of `found` that are older, and older than SHORTEST; those that were."""
    now = now or datetime.now(UTC)
    for orphan in found:
        if orphan.age(now) > max(older_than, SHORTEST):
            store.remove(orphan.key)
            yield orphan


type _Published = tuple[int, frozenset[str]]
"""How many batches there are, and all paths that their manifests name."""


def _published(store: SweptStore, generation: int) -> _Published:
    """Of one generation of the processed store, or of the ingestion store, which is no. 0."""
    if generation:
        return _named(
            newest(store, lambda batch: processed_manifest_path(generation, batch)),
            lambda batch: _files_of_processed(read_processed_manifest(store, generation, batch)[0]),
        )
    return _named(
        newest(store, manifest_path), lambda batch: _files(read_manifest(store, batch)[0])
    )


def _named(batches: int, files: Callable[[int], Iterable[File]]) -> _Published:
    return batches, frozenset(file.path for batch in range(1, batches + 1) for file in files(batch))


def _files(manifest: Manifest) -> Iterator[File]:
    for table in chain(manifest.tables, (former.table for former in manifest.former)):
        yield from table.files
        yield from table.keys
        yield from filter(None, [table.repeats, table.unreadable])


def _files_of_processed(manifest: ProcessedManifest) -> Iterator[File]:
    return chain(manifest.files, manifest.refused, *manifest.state.values())


def _orphan(store: SweptStore, found: Object) -> Orphan:
    return Orphan(store.url, found.key, found.size_bytes, found.modified_at)
