"""Reads numbered objects such as manifests, and verifies the files that they name."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path, PurePosixPath

from totes.errors import LakeError, ObjectMissing
from totes.lake.lsn import parse_lsn
from totes.lake.manifest import (
    File,
    Heartbeat,
    Manifest,
    ProcessedManifest,
    generation_path,
    heartbeat_prefix,
    log_positions_prefix,
    manifest_path,
    processed_manifest_path,
    sha256_hex,
)
from totes.lake.store import Store

_OFFSETS = (1, 2, 4, 8, 64)
"""Offsets at which later objects are searched: one or several objects may be missing."""


def find_newest_number(store: Store, path_of: Callable[[int], str], at_least: int = 0) -> int:
    """Return the highest number that has an object, 0 if there is none.

    Numbers have no gaps, and `at_least` exists if it is not 0. This takes about 2·log2(n) requests
    for n numbers above `at_least`.
    """
    existing, missing = at_least, at_least + 1
    while store.exists(path_of(missing)):
        existing, missing = missing, 2 * missing - at_least
    while missing - existing > 1:
        middle = (existing + missing) // 2
        if store.exists(path_of(middle)):
            existing = middle
        else:
            missing = middle
    return existing


def check_number_unused(store: Store, path_of: Callable[[int], str], number: int) -> None:
    """Raise LakeError if an object with a higher number exists: the one with `number` was lost."""
    for offset in _OFFSETS:
        later = path_of(number + offset)
        if store.exists(later) and not store.exists(path_of(number)):
            raise LakeError(
                f"{path_of(number)} is missing in {store.url}, although {later} exists: restore it "
                "from a backup."
            )


def find_current_generation(store: Store) -> int:
    """Return the current generation of the processed store, 1 if it has no pointer."""
    return find_newest_number(store, generation_path, at_least=1)


def read_manifest(store: Store, batch: int) -> tuple[Manifest, str]:
    """Return a batch's manifest and its SHA-256; ObjectMissing, or LakeError if it is damaged."""
    path = manifest_path(batch)
    data = store.get(path)
    manifest = Manifest.from_json(data, path)
    _check_number(path, store, manifest.batch, batch)
    return manifest, sha256_hex(data)


def read_processed_manifest(
    store: Store, generation: int, batch: int
) -> tuple[ProcessedManifest, str]:
    """Return a batch's manifest in one generation and its SHA-256; LakeError as `read_manifest`."""
    path = processed_manifest_path(generation, batch)
    data = store.get(path)
    manifest = ProcessedManifest.from_json(data, path)
    _check_number(path, store, manifest.batch, batch)
    _check_number(path, store, manifest.generation, generation)
    return manifest, sha256_hex(data)


def read_processed_manifests(
    store: Store, generation: int, first: int = 1
) -> Iterator[ProcessedManifest]:
    """Yield the manifests of a generation from batch `first`; LakeError if one is out of order."""
    previous: tuple[ProcessedManifest, str] | None = None
    for batch in count(first):
        try:
            manifest, digest = read_processed_manifest(store, generation, batch)
        except ObjectMissing:
            return
        if previous is not None and (
            manifest.previous != previous[1] or manifest.captured_at <= previous[0].captured_at
        ):
            raise LakeError(
                f"Batch {batch} of generation {generation} in {store.url} does not follow "
                f"batch {batch - 1}: restore its manifest from a backup, or run totes replay."
            )
        previous = manifest, digest
        yield manifest


def find_last_heartbeat(store: Store, now: datetime) -> Heartbeat | None:
    """Return the newest heartbeat of the UTC day of `now` or the day before; None without one."""
    for day in (now, now - timedelta(days=1)):
        if keys := list(store.list(heartbeat_prefix(day))):
            return Heartbeat.from_json(store.get(keys[-1]), keys[-1])
    return None


def find_log_position(store: Store, manifest: Manifest) -> int | None:
    """Return the position in the write-ahead log up to which the batches have all changes.

    None if the log was never read.
    """
    if manifest.log is None:
        return None
    keys = store.list(log_positions_prefix(manifest.batch))
    positions = [int(PurePosixPath(key).stem, 16) for key in keys]
    return max([parse_lsn(manifest.log.position), *positions])


def fetch_verified(store: Store, file: File, path: Path) -> None:
    """Copy an object to the local file `path`; LakeError if size or SHA-256 differ from `file`."""
    store.fetch(file.path, path)
    with path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    check_digest(file, store.url, path.stat().st_size, sha256)


def check_digest(file: File, url: str, size_bytes: int, sha256: str) -> None:
    """Raise LakeError if an object of the store `url` has another size or SHA-256 than `file`."""
    if size_bytes != file.bytes:
        raise LakeError(
            f"{file.path} in {url} is damaged: it has {size_bytes} bytes instead of {file.bytes}. "
            "Restore it from a backup."
        )
    if sha256 != file.sha256:
        raise LakeError(
            f"{file.path} in {url} is damaged: its SHA-256 differs from the manifest's. "
            "Restore it from a backup."
        )


def _check_number(path: str, store: Store, number: int, expected: int) -> None:
    if number != expected:
        raise LakeError(
            f"{path} in {store.url} is the manifest of number {number}, not {expected}: "
            "restore it from a backup."
        )
