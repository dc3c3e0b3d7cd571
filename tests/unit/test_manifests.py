"""The newest batch is found with few requests; manifests and files are verified when read."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.errors import LakeError, ObjectMissing
from totes.lake import Store, open_store
from totes.lake.manifest import (
    File,
    Identity,
    Manifest,
    ProcessedManifest,
    generation_path,
    manifest_path,
    processed_manifest_path,
    sha256_hex,
)
from totes.lake.manifests import (
    fetch_verified,
    find_current_generation,
    find_newest_number,
    read_manifest,
    read_processed_manifest,
)


class NumberStore:
    """A store with the keys 1 to `last`, which counts requests."""

    url = "numbers"

    def __init__(self, last: int) -> None:
        self.last, self.requests = last, 0

    def exists(self, key: str) -> bool:
        self.requests += 1
        return int(key) <= self.last

    def get(self, key: str) -> bytes:
        raise NotImplementedError

    def fetch(self, key: str, path: Path) -> None:
        raise NotImplementedError

    def put(self, key: str, path: Path) -> None:
        raise NotImplementedError

    def create(self, key: str, data: bytes) -> bool:
        raise NotImplementedError

    def secure(self, key: str) -> None:
        raise NotImplementedError

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        raise NotImplementedError


@given(at_least=st.integers(0, 10**9), new=st.integers(0, 10**9) | st.integers(0, 20))
def test_the_newest_number_is_found_with_few_requests(at_least: int, new: int) -> None:
    store = NumberStore(at_least + new)
    assert find_newest_number(store, str, at_least) == at_least + new
    assert store.requests <= 2 * log2(new + 1) + 2


@pytest.mark.parametrize(("new", "requests"), [(0, 1), (1, 2), (1000, 20)])
def test_one_new_number_takes_two_requests(new: int, requests: int) -> None:
    store = NumberStore(123_456 + new)
    find_newest_number(store, str, 123_456)
    assert store.requests <= requests


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "lake"))


AT = datetime(2026, 11, 22, tzinfo=UTC)


def ingested(batch: int) -> Manifest:
    identity = Identity(system_identifier="7", database_oid=5, timeline=1, database="totesys")
    return Manifest(
        batch=batch, previous=None, captured_at=AT, snapshot="1:1:", identity=identity, tables=()
    )


def processed(batch: int, generation: int = 1) -> ProcessedManifest:
    return ProcessedManifest(
        batch=batch,
        previous=None,
        captured_at=AT,
        generation=generation,
        ingested="0",
        files=(),
        models="0",
    )


def test_the_newest_batch_of_a_store_is_found(store: Store) -> None:
    assert find_newest_number(store, manifest_path) == 0
    for batch in range(1, 6):
        store.create(manifest_path(batch), b"")
        assert (
            find_newest_number(store, manifest_path)
            == find_newest_number(store, manifest_path, batch)
            == batch
        )


def test_the_last_published_generation_is_current(
    store: Store,
) -> None:
    assert find_current_generation(store) == 1
    for generation in (2, 3, 4):
        store.create(generation_path(generation), b"")
        assert find_current_generation(store) == generation


def test_a_manifest_is_read_with_its_digest(store: Store) -> None:
    data = ingested(7).to_json() + b"\n"
    store.create(manifest_path(7), data)
    assert read_manifest(store, 7) == (ingested(7), sha256_hex(data))
    data = processed(7, 2).to_json()
    store.create(processed_manifest_path(2, 7), data)
    assert read_processed_manifest(store, 2, 7) == (processed(7, 2), sha256_hex(data))


def test_a_missing_manifest_is_named(store: Store) -> None:
    with pytest.raises(ObjectMissing, match=r"batches/000000000007.json in .*lake"):
        read_manifest(store, 7)


@pytest.mark.parametrize(
    ("path", "data", "read"),
    [
        (manifest_path(7), ingested(6).to_json(), lambda store: read_manifest(store, 7)),
        (
            processed_manifest_path(2, 7),
            processed(6, 2).to_json(),
            lambda store: read_processed_manifest(store, 2, 7),
        ),
        (
            processed_manifest_path(2, 7),
            processed(7, 1).to_json(),
            lambda store: read_processed_manifest(store, 2, 7),
        ),
    ],
)
def test_a_manifest_with_a_different_number_is_rejected(
    store: Store, path: str, data: bytes, read: Callable[[Store], object]
) -> None:
    store.create(path, data)
    with pytest.raises(LakeError, match=f"{path} in .*lake is the manifest of "):
        read(store)


def test_a_file_that_matches_its_manifest_is_fetched(store: Store, tmp_path: Path) -> None:
    store.create("table/1", b"content")
    file = File(path="table/1", rows=1, bytes=7, sha256=sha256_hex(b"content"))
    fetch_verified(store, file, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"conten", "6 bytes instead of 7"),
        (b"content.", "8 bytes instead of 7"),
        (b"c0ntent", "SHA-256"),
    ],
)
def test_a_damaged_file_is_rejected_and_named(
    store: Store, tmp_path: Path, content: bytes, message: str
) -> None:
    store.create("table/1", content)
    file = File(path="table/1", rows=1, bytes=7, sha256=sha256_hex(b"content"))
    with pytest.raises(LakeError, match=f"table/1 in .*lake is damaged.*{message}"):
        fetch_verified(store, file, tmp_path / "copy")
