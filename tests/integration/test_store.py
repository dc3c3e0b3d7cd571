"""The store's contract, over every implementation, and how each of them fails."""

import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from installation import at
from s3_service import SECRET, Fault, S3Service, forget_client

from totes.errors import LakeError, ObjectMissing, UsageError
from totes.lake import Store, open_store, open_swept
from totes.lake.folder import INCOMING
from totes.lake.s3 import ATTEMPTS, PART_BYTES


class Place(Protocol):
    """Where a store may be, and a way to fill it quickly."""

    url: str

    def fill(self, keys: Iterable[str]) -> None: ...


class Folder:
    def __init__(self, path: Path) -> None:
        self.url = str(path)

    def fill(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = Path(self.url, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


class Bucket:
    def __init__(self, service: S3Service, prefix: str) -> None:
        self._service, self._bucket, self._prefix = service, service.new_bucket(), prefix
        self.url = f"s3://{self._bucket}{prefix}"

    def unfinished(self) -> list[str]:
        """The keys of uploads in parts that were neither joined nor given up."""
        return self._service.unfinished(self._bucket)

    def fill(self, keys: Iterable[str]) -> None:
        self._service.fill(self._bucket, (f"{self._prefix}/{key}".lstrip("/") for key in keys))


@pytest.fixture
def bucket(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    service.environment(monkeypatch)
    yield Bucket(service, "/lake/ingestion")
    service.fail(None)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Folder(tmp_path / "lake" / "ingestion")
    made: Bucket = request.getfixturevalue("bucket")
    return made


@pytest.fixture
def store(place: Place) -> Store:
    return open_store(place.url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


# --- every store ---------------------------------------------------------------------------------


def test_what_was_put_is_read_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    path, copy, content = tmp_path / "sent", tmp_path / "copy", bytes(range(256)) * 5000
    path.write_bytes(content)
    store.put("sales_order/year=2026/a b%2F ünï.gz", path)
    store.fetch("sales_order/year=2026/a b%2F ünï.gz", copy)
    assert copy.read_bytes() == content
    assert store.get("sales_order/year=2026/a b%2F ünï.gz") == content


def test_an_empty_object_is_an_object(store: Store, tmp_path: Path) -> None:
    assert store.create("empty", b"")
    store.fetch("empty", tmp_path / "copy")
    assert store.get("empty") == (tmp_path / "copy").read_bytes() == b""
    assert store.exists("empty")
    assert list(store.list("")) == ["empty"]


def test_a_missing_object_is_told_from_every_other_failure(store: Store, tmp_path: Path) -> None:
    store.create("batches/1.json", b"")
    for key in ("batches/2.json", "batches", "batches/1.json/below", "else/where"):
        assert not store.exists(key)
        with pytest.raises(ObjectMissing, match=key):
            store.get(key)
        with pytest.raises(ObjectMissing, match=key):
            store.fetch(key, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_store_not_yet_written_to_is_empty(store: Store) -> None:
    assert not store.exists("batches/1.json")
    assert list(store.list("batches/")) == []
    assert list(store.list("")) == []


def test_create_gives_a_key_its_only_content(store: Store) -> None:
    assert store.create("batches/1.json", b"first")
    assert store.create("batches/1.json", b"first")
    assert not store.create("batches/1.json", b"other")
    assert not store.create("batches/1.json", b"longer other")
    assert store.get("batches/1.json") == b"first"


def test_put_never_replaces_an_object(store: Store, file: Path) -> None:
    store.create("table/1", b"there")
    with pytest.raises(LakeError, match=r"table/1.*exists already"):
        store.put("table/1", file)
    assert store.get("table/1") == b"there"


@pytest.mark.parametrize("content", ["same", "different"])
@pytest.mark.parametrize("rivals", ["threads", "processes"])
def test_of_two_rivals_exactly_one_wins_each_key(place: Place, rivals: str, content: str) -> None:
    contents = [b"content" if content == "same" else b"content of %d" % n for n in range(2)]
    executor: Executor = (
        ThreadPoolExecutor(2)
        if rivals == "threads"
        else ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
    )
    with executor:
        answers = list(executor.map(_create_many, [place.url] * 2, contents))
    store = open_store(place.url)
    for number, won in enumerate(zip(*answers, strict=True)):
        assert won.count(True) == (2 if content == "same" else 1)
        assert store.get(f"batches/{number}") == contents[won.index(True)]


def _create_many(url: str, content: bytes) -> list[bool]:
    store = open_store(url)
    return [store.create(f"batches/{number}", content) for number in range(20)]


AWKWARD = ["a", "a-b/x", "a.b", "a/b", "a/b-c/x", "a/b/c", "a/é", "ab", "b/c", "batches/10", "ü/x"]


def test_a_list_is_in_the_order_of_keys_and_starts_after_any_of_them(place: Place) -> None:
    keys = sorted(set(AWKWARD) - {"a", "a/b"})  # a folder can't be a file
    place.fill(keys)
    store = open_store(place.url)
    assert list(store.list("")) == keys
    for after in AWKWARD:
        assert list(store.list("", after)) == [key for key in keys if key > after]


def test_a_prefix_is_whole_segments(place: Place) -> None:
    place.fill(["a/b/1", "a/b/2", "a/bc/3", "a/b.4", "b/5"])
    store = open_store(place.url)
    assert list(store.list("a/b/")) == list(store.list("a/b")) == ["a/b/1", "a/b/2"]
    assert list(store.list("a/b/", after="a/b/1")) == ["a/b/2"]
    assert list(store.list("a/b/1")) == list(store.list("c")) == []


def test_a_long_list_comes_in_pages_and_whole(place: Place) -> None:
    keys = [f"batches/{number:012d}.json" for number in range(1, 2501)]
    place.fill(keys)
    store = open_store(place.url)
    assert list(store.list("batches/")) == keys
    assert list(store.list("batches/", after=keys[1233])) == keys[1234:]


HOSTILE = [
    "", ".", "..", "/", "/etc/passwd", "../outside", "a/../../outside", "a//b", "a/", "./a", "a/.",
    "a\\b", "a\0b", "a\nb", "\ud800", ".hidden", f"{INCOMING}/a",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_a_hostile_key_is_refused(store: Store, file: Path, key: str) -> None:
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


def test_a_local_file_that_fails_is_named(store: Store, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "folder"
    store.create("a", b"")
    with pytest.raises(LakeError, match=f"a can't be copied to {nowhere}.*No such file") as caught:
        store.fetch("a", nowhere)
    assert not isinstance(caught.value, ObjectMissing)
    with pytest.raises(LakeError, match=r"b can't be written.*No such file") as caught:
        store.put("b", nowhere)
    assert not isinstance(caught.value, ObjectMissing)


MEMORY = """
import sys
from pathlib import Path
from totes.lake import open_store

def peak_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])

store, path = open_store(sys.argv[1]), Path(sys.argv[2])
store.put("first", Path(sys.argv[3]))  # in parts: with all that this loads once
store.get("first")
before = peak_kb()
store.put("large", path)
store.fetch("large", path.with_name("copy"))
print(peak_kb() - before)
"""


def test_a_large_file_passes_in_constant_memory(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as large:
        for number in range(64):
            large.write(number.to_bytes(4) * (1 << 18))
    first = tmp_path / "first"
    first.write_bytes(b"first" + bytes(PART_BYTES))
    arguments = [place.url, str(path), str(first)]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 32_000
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    path.write_bytes(b"other" * PART_BYTES)
    with pytest.raises(LakeError, match=r"large.*exists already"):
        open_store(place.url).put("large", path)


# --- which store ---------------------------------------------------------------------------------


def test_a_folder_has_two_spellings(tmp_path: Path) -> None:
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
def test_any_other_url_is_refused_without_repeating_its_secrets(url: str) -> None:
    with pytest.raises(UsageError, match="must be a folder's path") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_a_prefix_keeps_stores_of_one_bucket_apart(bucket: Bucket) -> None:
    root = bucket.url.removesuffix("/lake/ingestion")
    open_store(bucket.url).create("a", b"x")
    assert list(open_store(root).list("")) == ["lake/ingestion/a"]
    assert list(open_store(f"{root}/lake/ingest").list("")) == []
    assert list(open_store(f"{bucket.url}/").list("")) == ["a"]


# --- the folder ----------------------------------------------------------------------------------


def test_an_object_is_durable_before_it_is_visible_and_when_create_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    root = tmp_path / "new" / "lake"

    def name(path: str | Path) -> str:
        relative = Path(path).relative_to(tmp_path)
        return f"{relative.parent}/*" if relative.parent.name == INCOMING else str(relative)

    def fsync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        steps.append("fsync " + name(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    def link(source: Path, target: Path, real: Callable[[Path, Path], None] = os.link) -> None:
        steps.append("link " + name(target))
        real(source, target)

    def mkdir(path: Path, mode: int, real: Callable[[Path, int], None] = os.mkdir) -> None:
        if not path.exists():
            steps.append("mkdir " + name(path))
        real(path, mode)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "mkdir", mkdir)
    store = open_store(str(root))
    assert store.create("a/b/1", b"x")
    incoming = [f"fsync new/lake/{INCOMING}/*"]
    assert steps == [
        "mkdir new", "fsync .",
        "mkdir new/lake", "fsync new",
        f"mkdir new/lake/{INCOMING}", "fsync new/lake",
        "mkdir new/lake/a", "fsync new/lake",
        "mkdir new/lake/a/b", "fsync new/lake/a",
        *incoming, "link new/lake/a/b/1", "fsync new/lake/a/b",
    ]  # fmt: skip
    steps.clear()
    assert store.create("a/b/2", b"x")
    assert steps == [*incoming, "link new/lake/a/b/2", "fsync new/lake/a/b"]
    steps.clear()
    assert open_store(str(root)).create("a/b/2", b"x")
    assert {"fsync new", "fsync new/lake", "fsync new/lake/a"} < set(steps), "its maker may be dead"
    assert steps[-2:] == ["link new/lake/a/b/2", "fsync new/lake/a/b"]


KILLED = """
import os, signal, sys
from totes.lake import open_store
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_store(sys.argv[1]).create("batches/1", b"half")
"""


def test_what_a_killed_process_left_is_invisible_and_harmless(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list((tmp_path / INCOMING).iterdir())) == 1
    store = open_store(str(tmp_path))
    assert not store.exists("batches/1")
    assert list(store.list("")) == []
    assert store.create("batches/1", b"whole")
    assert store.get("batches/1") == b"whole"


def test_nothing_is_left_or_visible_when_the_disk_is_full(tmp_path: Path, file: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    store.create("first", b"x")
    file.write_bytes(b"x" * 5000)
    with _no_file_over(1000), pytest.raises(LakeError, match=r"table/1 can't be written.*disk"):
        store.put("table/1", file)
    assert list(store.list("")) == ["first"]
    assert list((tmp_path / "lake" / INCOMING).iterdir()) == []


@contextmanager
def _no_file_over(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_objects_are_read_only_to_other_programs_too(tmp_path: Path) -> None:
    open_store(str(tmp_path)).create("a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444


def test_a_symbolic_link_is_no_way_out_of_the_folder(tmp_path: Path, file: Path) -> None:
    root, outside = tmp_path / "lake", tmp_path / "outside"
    store = open_store(str(root))
    store.create("in/side", b"")
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "secret").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")
    (root / "loop").symlink_to("loop")
    for key in ("folder/secret", "secret", "dangling", "folder/new", "loop"):
        for use in (store.get, store.exists):
            with pytest.raises(LakeError, match=f"{key}.*symbolic link"):
                use(key)
        with pytest.raises(LakeError, match=f"{key}.*symbolic link"):
            store.create(key, b"")
        with pytest.raises(LakeError, match=f"{key}.*symbolic link"):
            store.put(key, file)
    with pytest.raises(LakeError, match="symbolic link"):
        list(store.list("folder/"))
    assert list(store.list("")) == ["in/side"]
    assert list(outside.iterdir()) == [outside / "secret"]


def test_the_folder_itself_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "lake").symlink_to("real")
    assert open_store(str(tmp_path / "lake")).create("a", b"x")
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_a_file_in_place_of_the_folder_is_one_clear_line(file: Path) -> None:
    store = open_store(str(file))
    uses: list[Callable[[], object]] = [
        lambda: store.get("a/b"),
        lambda: store.fetch("a/b", file),
        lambda: store.exists("a/b"),
        lambda: store.create("a/b", b""),
        lambda: store.put("a/b", file),
        lambda: list(store.list("a/")),
        lambda: list(store.list("")),
    ]
    for use in uses:
        with pytest.raises(LakeError, match=rf"{file} \(Not a directory\): see that") as caught:
            use()
        assert not isinstance(caught.value, ObjectMissing)
    assert file.read_bytes() == b"content"


def test_a_folder_that_nobody_may_write_is_one_clear_line() -> None:
    with pytest.raises(LakeError, match=r"^a can't be written to /sys/lake .*: see that it is"):
        open_store("/sys/lake").create("a", b"")


def test_an_object_is_not_created_inside_another(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("a", b"")
    store.create("b/c", b"")
    for key in ("a/b", "b"):
        for content in (b"", b"x"):
            with pytest.raises(LakeError, match=f"{key} can't be written"):
                store.create(key, content)


# --- S3 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 1_000_000])
def test_a_create_whose_answer_was_lost_is_a_success(
    bucket: Bucket, service: S3Service, times: int
) -> None:
    store = open_store(bucket.url)
    service.fail(Fault("PUT", times=times))
    assert store.create("batches/1", b"ours")
    assert service.faults >= 1
    assert store.get("batches/1") == b"ours"


@pytest.mark.parametrize("times", [1, 1_000_000])
def test_a_create_whose_answer_was_lost_is_no_success_over_a_rival(
    bucket: Bucket, service: S3Service, times: int
) -> None:
    store = open_store(bucket.url)
    assert store.create("batches/1", b"a rival's")
    service.fail(Fault("PUT", times=times))
    assert not store.create("batches/1", b"ours")
    assert service.faults >= 1
    assert store.get("batches/1") == b"a rival's"


def test_a_service_that_stumbles_is_asked_again(bucket: Bucket, service: S3Service) -> None:
    store = open_store(bucket.url)
    for method in ("PUT", "GET"):
        service.fail(Fault(method, "503 Slow Down", "SlowDown", times=1))
        assert store.create("batches/1", b"ours")
        assert store.get("batches/1") == b"ours"
        assert store.exists("batches/1")
        assert service.faults == 1


def test_a_download_that_breaks_off_goes_on_at_the_same_byte(
    bucket: Bucket, service: S3Service, tmp_path: Path
) -> None:
    store, copy = open_store(bucket.url), tmp_path / "copy"
    content = random.Random(1).randbytes(3 << 20)  # noqa: S311
    store.create("table/1", content)
    for use in (lambda: store.get("table/1"), lambda: store.fetch("table/1", copy)):
        service.fail(Fault("GET", times=2, sent_bytes=3 << 19))
        use()
        assert service.faults == 2
    assert store.get("table/1") == copy.read_bytes() == content


@pytest.mark.parametrize("sent_bytes", [0, 5])
def test_a_download_that_breaks_off_each_time_is_given_up(
    bucket: Bucket, service: S3Service, sent_bytes: int
) -> None:
    store = open_store(bucket.url)
    store.create("table/1", b"content" * 100)
    service.fail(Fault("GET", sent_bytes=sent_bytes))
    with pytest.raises(LakeError, match=r"^table/1 can't be read from .*can't be reached: check"):
        store.get("table/1")
    assert service.faults == ATTEMPTS


NO_KEYS = ["", "a/", "a//b", "/a", ".hidden", "a\nb", "../a", "a/./b"]


def test_what_others_put_beside_the_lake_hides_nothing(bucket: Bucket) -> None:
    """A folder made in AWS's console is an object whose name ends with a slash."""
    bucket.fill([*NO_KEYS, "a/1", "b"])
    store = open_swept(bucket.url)
    assert list(store.list("")) == ["a/1", "b"]
    assert list(store.list("a")) == ["a/1"]
    assert {one.key for one in store.objects()} == {*NO_KEYS, "a/1", "b"}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three parts."""
    path = tmp_path / "large"
    path.write_bytes(b"ours" * (12 << 18))
    return path


def test_of_two_rivals_with_large_files_exactly_one_wins(bucket: Bucket, tmp_path: Path) -> None:
    """Both look before the other has stored anything."""
    both = threading.Barrier(2)

    def put(number: int) -> str:
        path = tmp_path / str(number)
        path.write_bytes(number.to_bytes(4) * (12 << 18))
        try:
            open_store(bucket.url).put("large", path)
        except LakeError as error:
            return str(error)
        return "won"

    with at("s3.before-parts", both.wait), ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(put, range(2)))
    [lost] = set(answers) - {"won"}
    assert answers.count("won") == 1
    assert lost == f"large in {bucket.url} exists already with another content."
    winner = tmp_path / str(answers.index("won"))
    assert open_store(bucket.url).get("large") == winner.read_bytes()
    assert bucket.unfinished() == []


@pytest.mark.parametrize("rival", [None, b"a rival's", b"same" * (12 << 18)])
def test_a_large_file_whose_answer_was_lost_is_ours_only_if_it_is(
    bucket: Bucket, service: S3Service, large: Path, rival: bytes | None
) -> None:
    store = open_store(bucket.url)

    def lose_the_answer() -> None:
        if rival:
            assert store.create("large", rival)
        service.fail(Fault("POST", times=1))

    with at("s3.before-parts", lose_the_answer):
        if rival is None:
            store.put("large", large)
        else:
            with pytest.raises(LakeError, match=r"large in .* exists already with another"):
                store.put("large", large)
    assert service.faults == 1
    assert store.get("large") == (rival or large.read_bytes())
    assert bucket.unfinished() == []


def test_a_large_file_that_is_refused_is_one_sentence_and_leaves_nothing(
    bucket: Bucket, service: S3Service, large: Path
) -> None:
    store = open_store(bucket.url)
    for method, failpoint in (("PUT", "s3.before-parts"), ("POST", "s3.before-parts")):
        fault = Fault(method, "403 Forbidden", "AccessDenied")
        with (
            at(failpoint, lambda fault=fault: service.fail(fault)),
            pytest.raises(
                LakeError,
                match=r"^large can't be written to .*, the credentials do not allow it: grant",
            ),
        ):
            store.put("large", large)
        service.fail(None)
        assert bucket.unfinished() == []
        assert not store.exists("large")
    with pytest.raises(LakeError, match="there is no such bucket"):
        open_store(bucket.url.replace("bucket-", "missing-")).put("large", large)


SENTENCES = [
    (Fault("", "403 Forbidden", "AccessDenied"), "the credentials do not allow it: grant"),
    (Fault("", "403 Forbidden", "InvalidAccessKeyId"), "the credentials are not valid: renew"),
    (Fault("", "400 Bad Request", "ExpiredToken"), "the credentials are not valid: renew"),
    (Fault("", "301 Moved Permanently", "PermanentRedirect"), "another region: set AWS_REGION"),
    (Fault("", "409 Conflict", "ConditionalRequestConflict"), "writing it at this moment: run"),
    (Fault("", "404 Not Found", "NoSuchBucket"), "there is no such bucket: create it"),
    (Fault("", "403 Forbidden", "RequestTimeTooSkewed"), "this machine's clock is wrong: set it"),
    (Fault("", "403 Forbidden", "InvalidObjectState"), "the object is archived: restore it"),
    (Fault("", "501 Not Implemented", "NotImplemented"), "conditional writes"),
    (Fault("", "418 I Am A Teapot", "Teapot"), "the service failed: run again"),
]


@pytest.mark.parametrize(("fault", "sentence"), SENTENCES)
def test_a_refusal_of_s3_is_one_sentence_that_says_what_to_do(
    bucket: Bucket, service: S3Service, fault: Fault, sentence: str
) -> None:
    store = open_store(bucket.url)
    uses: dict[str, Callable[[], object]] = {
        "PUT": lambda: store.create("batches/1", b""),
        "GET": lambda: store.get("batches/1"),
    }
    for method, use in uses.items():
        service.fail(Fault(method, fault.status, fault.code))
        with pytest.raises(LakeError, match=sentence) as caught:
            use()
        message = str(caught.value)
        assert message.startswith("batches/1 can't be ")
        assert bucket.url in message
        assert "\n" not in message
        assert SECRET not in message
        assert not isinstance(caught.value, ObjectMissing)


def test_a_missing_bucket_is_not_an_empty_store(bucket: Bucket, file: Path) -> None:
    store = open_store(bucket.url.replace("bucket-", "missing-"))
    uses: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: store.create("a", b""),
        lambda: store.put("a", file),
        lambda: list(store.list("")),
    ]
    for use in uses:
        with pytest.raises(LakeError, match="there is no such bucket"):
            use()


# --- where S3 and the credentials are ------------------------------------------------------------

CONFIG = f"""
[profile good]
region = eu-west-2
aws_access_key_id = somebody
aws_secret_access_key = {SECRET}
[profile ended]
sso_session = company
sso_account_id = 123456789012
sso_role_name = analyst
[sso-session company]
sso_start_url = http://127.0.0.1:9/
sso_region = eu-west-2
"""

type Settings = Callable[..., None]


@pytest.fixture
def settings(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Alters AWS's variables; None removes one. ~/.aws has two profiles."""
    assert bucket
    config = tmp_path / "config"
    config.write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def alter(**variables: str | None) -> None:
        for name, value in variables.items():
            if value is None:
                monkeypatch.delenv(name)
            else:
                monkeypatch.setenv(name, value)
        forget_client()

    return alter


NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": None, "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-3"),
        ({"AWS_REGION": None}, "us-east-1"),
        ({"AWS_REGION": None, "AWS_PROFILE": "good", **NO_CREDENTIALS}, "eu-west-2"),
    ],
)
def test_credentials_and_region_come_from_where_awss_tools_have_them(
    bucket: Bucket,
    service: S3Service,
    settings: Settings,
    variables: dict[str, str | None],
    region: str,
) -> None:
    settings(**variables)
    assert open_store(bucket.url).create("a", b"")
    assert re.search(rf"Credential=somebody/\d+/{region}/s3/", service.authorization)


def test_the_endpoint_of_s3_alone_goes_before_that_of_all_services(
    bucket: Bucket, service: S3Service, settings: Settings
) -> None:
    settings(AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ENDPOINT_URL_S3=service.endpoint)
    assert open_store(bucket.url).create("a", b"")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "the service can't be reached: check the network and, where used, AWS_ENDPOINT_URL",
        ),
        ({"AWS_ENDPOINT_URL": "minio"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        ({"AWS_REGION": "not a region"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        ({"AWS_PROFILE": "missing"}, "AWS's settings are not valid: correct AWS_PROFILE"),
        (NO_CREDENTIALS, "no credentials were found: set AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "no credentials were found: set AWS_ACCESS_KEY_ID"),
        (
            {"AWS_PROFILE": "ended", **NO_CREDENTIALS},
            r"the credentials can't be had: sign in again \(`aws sso login`\)",
        ),
    ],
)
def test_what_leads_nowhere_is_one_sentence_that_says_what_to_do(
    bucket: Bucket, settings: Settings, variables: dict[str, str | None], sentence: str
) -> None:
    settings(**variables)
    with pytest.raises(
        LakeError, match=f"^a can't be read from {bucket.url}, {sentence}"
    ) as caught:
        open_store(bucket.url).get("a")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_https_where_there_is_none_is_told_from_a_service_that_is_away(
    bucket: Bucket, service: S3Service, settings: Settings
) -> None:
    settings(AWS_ENDPOINT_URL=service.endpoint.replace("http:", "https:"))
    with pytest.raises(LakeError, match=r"no secure connection.*AWS_ENDPOINT_URL.*AWS_CA_BUNDLE"):
        open_store(bucket.url).get("a")


def test_a_name_that_no_bucket_can_have_is_the_urls_fault(bucket: Bucket) -> None:
    assert bucket
    with pytest.raises(LakeError, match="S3 allows no such name: correct the URL"):
        open_store("s3://no_bucket!/lake").get("a")
