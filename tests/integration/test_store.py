"""Stores in a folder and in S3: the contract of both."""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_service import SECRET, S3Service
from store_location import Bucket, Folder, Location

from totes.errors import LakeError, ObjectMissing, UsageError
from totes.lake import Store, open_store
from totes.lake.folder import INCOMPLETE
from totes.lake.s3 import PART_BYTES


@pytest.fixture
def bucket(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    service.environment(monkeypatch)
    yield Bucket(service, "/lake/ingestion")
    service.fail(None)


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "folder":
        return Folder(tmp_path / "lake" / "ingestion")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket


@pytest.fixture
def store(location: Location) -> Store:
    return open_store(location.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_put_and_get_preserve_every_byte(store: Store, tmp_path: Path) -> None:
    path, copy, content = tmp_path / "sent", tmp_path / "copy", bytes(range(256)) * 5000
    path.write_bytes(content)
    store.put("sales_order/year=2026/a b%2F ünï.gz", path)
    store.fetch("sales_order/year=2026/a b%2F ünï.gz", copy)
    assert copy.read_bytes() == content
    assert store.get("sales_order/year=2026/a b%2F ünï.gz") == content


def test_an_empty_object_exists(store: Store, tmp_path: Path) -> None:
    assert store.create("empty", b"")
    store.fetch("empty", tmp_path / "copy")
    assert store.get("empty") == (tmp_path / "copy").read_bytes() == b""
    assert store.exists("empty")
    assert list(store.list("")) == ["empty"]


def test_a_missing_object_raises_object_missing(store: Store, tmp_path: Path) -> None:
    store.create("batches/1.json", b"")
    for key in ("batches/2.json", "batches", "batches/1.json/below", "else/where"):
        assert not store.exists(key)
        with pytest.raises(ObjectMissing, match=key):
            store.get(key)
        with pytest.raises(ObjectMissing, match=key):
            store.fetch(key, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_new_store_is_empty(store: Store) -> None:
    assert not store.exists("batches/1.json")
    assert list(store.list("batches/")) == []
    assert list(store.list("")) == []


def test_create_never_replaces_an_object(store: Store) -> None:
    assert store.create("batches/1.json", b"first")
    assert store.create("batches/1.json", b"first")
    assert not store.create("batches/1.json", b"other")
    assert not store.create("batches/1.json", b"longer other")
    assert store.get("batches/1.json") == b"first"


def test_put_never_replaces_an_object(store: Store, file: Path) -> None:
    store.create("table/1", b"there")
    with pytest.raises(LakeError, match=r"table/1.*already exists"):
        store.put("table/1", file)
    assert store.get("table/1") == b"there"


@pytest.mark.few(3)
@pytest.mark.parametrize("content", ["same", "different"])
@pytest.mark.parametrize("writers", ["threads", "processes"])
def test_of_two_concurrent_creates_exactly_one_succeeds(
    location: Location, writers: str, content: str
) -> None:
    contents = [b"content" if content == "same" else b"content of %d" % n for n in range(2)]
    executor: Executor = (
        ThreadPoolExecutor(2)
        if writers == "threads"
        else ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    )
    with executor:
        results = list(executor.map(_create_many, [location.url] * 2, contents))
    store = open_store(location.url)
    for number, created in enumerate(zip(*results, strict=True)):
        assert created.count(True) == (2 if content == "same" else 1)
        assert store.get(f"batches/{number}") == contents[created.index(True)]


def _create_many(url: str, content: bytes) -> list[bool]:
    store = open_store(url)
    return [store.create(f"batches/{number}", content) for number in range(20)]


UNUSUAL_KEYS = [
    "a",
    "a-b/x",
    "a.b",
    "a/b",
    "a/b-c/x",
    "a/b/c",
    "a/é",
    "ab",
    "b/c",
    "batches/10",
    "ü/x",
]


def test_list_sorts_keys_and_starts_after_any_key(location: Location) -> None:
    keys = sorted(set(UNUSUAL_KEYS) - {"a", "a/b"})  # a folder can't be a file
    location.fill(keys)
    store = open_store(location.url)
    assert list(store.list("")) == keys
    for after in UNUSUAL_KEYS:
        assert list(store.list("", after)) == [key for key in keys if key > after]


def test_a_prefix_matches_whole_segments(location: Location) -> None:
    location.fill(["a/b/1", "a/b/2", "a/bc/3", "a/b.4", "b/5"])
    store = open_store(location.url)
    assert list(store.list("a/b/")) == list(store.list("a/b")) == ["a/b/1", "a/b/2"]
    assert list(store.list("a/b/", after="a/b/1")) == ["a/b/2"]
    assert list(store.list("a/b/1")) == list(store.list("c")) == []


def test_a_list_of_several_pages_is_complete(location: Location) -> None:
    keys = [f"batches/{number:012d}.json" for number in range(1, 2501)]
    location.fill(keys)
    store = open_store(location.url)
    assert list(store.list("batches/")) == keys
    assert list(store.list("batches/", after=keys[1233])) == keys[1234:]


INVALID_KEYS = [
    "", ".", "..", "/", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a/", "./a", "a/.",
    "a\\b", "a\0b", "a\nb", "\ud800", ".hidden", f"{INCOMPLETE}/a",
]  # fmt: skip


@pytest.mark.parametrize("key", INVALID_KEYS)
def test_an_invalid_key_is_rejected(store: Store, file: Path, key: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.get(key),
        lambda: store.fetch(key, file),
        lambda: store.put(key, file),
        lambda: store.create(key, b""),
        lambda: store.exists(key),
    ]
    if key:
        uses.append(lambda: list(store.list("", after=key)))
    if key not in {"", "a/"}:
        uses.append(lambda: list(store.list(key)))
    for use in uses:
        with pytest.raises(LakeError, match="can't be a key"):
            use()
    assert list(store.list("")) == []
    assert file.read_bytes() == b"content"


def test_an_error_of_a_local_file_names_the_file(store: Store, tmp_path: Path) -> None:
    missing = tmp_path / "no" / "folder"
    store.create("a", b"")
    with pytest.raises(LakeError, match=f"a can't be copied to {missing}.*No such file") as caught:
        store.fetch("a", missing)
    assert not isinstance(caught.value, ObjectMissing)
    with pytest.raises(LakeError, match=r"b can't be written.*No such file") as caught:
        store.put("b", missing)
    assert not isinstance(caught.value, ObjectMissing)


MEMORY = """
import sys
from pathlib import Path
from totes.lake import open_store

def peak_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

store, path = open_store(sys.argv[1]), Path(sys.argv[2])
store.put("first", Path(sys.argv[3]))  # multipart: loads all modules
store.get("first")
before = peak_kb()
store.put("large", path)
store.fetch("large", path.with_name("copy"))
print(peak_kb() - before)
"""


def test_a_large_file_needs_constant_memory(location: Location, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as large:
        for number in range(64):
            large.write(number.to_bytes(4) * (1 << 18))
    first = tmp_path / "first"
    first.write_bytes(b"first" + bytes(PART_BYTES))
    arguments = [location.url, str(path), str(first)]
    process = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], check=True, capture_output=True, text=True
    )
    assert int(process.stdout) < 32_000
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    path.write_bytes(b"other" * PART_BYTES)
    with pytest.raises(LakeError, match=r"large.*already exists"):
        open_store(location.url).put("large", path)


def test_a_folder_can_be_a_path_or_a_file_url(tmp_path: Path) -> None:
    folder = tmp_path / "a folder#1?"
    assert open_store(str(folder)).create("a", b"x")
    assert open_store(f"file://{tmp_path}/a%20folder%231%3F").get("a") == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://bucket/prefix", "s3:/bucket", "s3://", "s3:///prefix", "file:", "gs://bucket",
        f"s3://somebody:{SECRET}@bucket/prefix", f"s3://bucket/prefix?secret={SECRET}",
        "file://elsewhere/folder",
    ],
)  # fmt: skip
def test_any_other_url_is_rejected_without_showing_its_secrets(url: str) -> None:
    with pytest.raises(UsageError, match="must be a folder's path") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_stores_with_different_prefixes_share_a_bucket(bucket: Bucket) -> None:
    root = bucket.url.removesuffix("/lake/ingestion")
    open_store(bucket.url).create("a", b"x")
    assert list(open_store(root).list("")) == ["lake/ingestion/a"]
    assert list(open_store(f"{root}/lake/ingest").list("")) == []
    assert list(open_store(f"{bucket.url}/").list("")) == ["a"]
