"""The log of batches: gap-free numbered objects, and the files they name, checked when read."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from totes.errors import LakeError
from totes.lake.manifest import (
    File,
    Manifest,
    ProcessedManifest,
    digest,
    generation_path,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.store import Store

_AHEAD = (1, 2, 4, 8, 64)
"""Where later objects are looked for: the first tells one that was lost, the others more."""


def newest(store: Store, path_of: Callable[[int], str], at_least: int = 0) -> int:
    """The highest number that has an object; all from 1 to it have one, 0 is none.

    `at_least` is known to exist: the next are sought in about 2·log2(new) questions.
    """
    found, missing = at_least, at_least + 1
    while store.exists(path_of(missing)):
        found, missing = missing, 2 * missing - at_least
    while missing - found > 1:
        middle = (found + missing) // 2
        if store.exists(path_of(middle)):
            found = middle
        else:
            missing = middle
    return found


def check_unused(store: Store, path_of: Callable[[int], str], number: int) -> None:
    """LakeError where `number` was lost, as later ones are there: it must not be given again."""
    for ahead in _AHEAD:
        if store.exists(path_of(number + ahead)) and not store.exists(path_of(number)):
            raise LakeError(
                f"{path_of(number)} is missing in {store.url}, though {path_of(number + ahead)} "
                "is there: restore it from a backup."
            )


def current_generation(store: Store) -> int:
    """The generation of the processed store that readers follow; the first needs no pointer."""
    return newest(store, generation_path, at_least=1)


def read_manifest(store: Store, batch: int) -> tuple[Manifest, str]:
    """A batch's manifest, and the SHA-256 of its bytes."""
    path = manifest_path(batch)
    data = store.get(path)
    manifest = Manifest.from_json(data, path)
    _check_number(path, store, manifest.batch, batch)
    return manifest, digest(data)


def read_processed_manifest(
    store: Store, generation: int, batch: int
) -> tuple[ProcessedManifest, str]:
    """A batch's manifest in one generation, and the SHA-256 of its bytes."""
    path = processed_manifest_path(generation, batch)
    data = store.get(path)
    manifest = ProcessedManifest.from_json(data, path)
    _check_number(path, store, manifest.batch, batch)
    _check_number(path, store, manifest.generation, generation)
    return manifest, digest(data)


def fetch_checked(store: Store, file: File, path: Path) -> None:
    """Copy an object to the local `path`; LakeError where it is not what its manifest says."""
    store.fetch(file.path, path)
    size = path.stat().st_size
    if size != file.bytes:
        raise LakeError(
            f"{file.path} in {store.url} is damaged, it has {size} bytes instead of {file.bytes}: "
            "restore it from a backup."
        )
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != file.sha256:
        raise LakeError(
            f"{file.path} in {store.url} is damaged, its SHA-256 is not the manifest's: "
            "restore it from a backup."
        )


def _check_number(path: str, store: Store, found: int, expected: int) -> None:
    if found != expected:
        raise LakeError(
            f"{path} in {store.url} is the manifest of {found}, not of {expected}: "
            "restore it from a backup."
        )
