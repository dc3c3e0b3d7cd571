"""A store in a folder: durability, killed writers, full disks, symbolic links."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from totes.errors import LakeError, ObjectMissing
from totes.lake import open_store
from totes.lake.folder import INCOMPLETE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_an_object_is_durable_before_it_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    root = tmp_path / "new" / "lake"

    def name(path: str | Path) -> str:
        relative = Path(path).relative_to(tmp_path)
        return f"{relative.parent}/*" if relative.parent.name == INCOMPLETE else str(relative)

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
    write_file = [f"fsync new/lake/{INCOMPLETE}/*"]
    assert steps == [
        "mkdir new", "fsync .",
        "mkdir new/lake", "fsync new",
        f"mkdir new/lake/{INCOMPLETE}", "fsync new/lake",
        "mkdir new/lake/a", "fsync new/lake",
        "mkdir new/lake/a/b", "fsync new/lake/a",
        *write_file, "link new/lake/a/b/1", "fsync new/lake/a/b",
    ]  # fmt: skip
    steps.clear()
    assert store.create("a/b/2", b"x")
    assert steps == [*write_file, "link new/lake/a/b/2", "fsync new/lake/a/b"]
    steps.clear()
    assert open_store(str(root)).create("a/b/2", b"x")
    assert {"fsync new", "fsync new/lake", "fsync new/lake/a"} < set(steps), (
        "the process that created it may have been killed"
    )
    assert steps[-2:] == ["link new/lake/a/b/2", "fsync new/lake/a/b"]


KILLED = """
import os, signal, sys
from totes.lake import open_store
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_store(sys.argv[1]).create("batches/1", b"incomplete")
"""


def test_incomplete_files_of_a_killed_process_are_ignored(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list((tmp_path / INCOMPLETE).iterdir())) == 1
    store = open_store(str(tmp_path))
    assert not store.exists("batches/1")
    assert list(store.list("")) == []
    assert store.create("batches/1", b"complete")
    assert store.get("batches/1") == b"complete"


def test_a_full_disk_leaves_no_files(tmp_path: Path, file: Path) -> None:
    store = open_store(str(tmp_path / "lake"))
    store.create("first", b"x")
    file.write_bytes(b"x" * 5000)
    with (
        _limited_file_size(1000),
        pytest.raises(LakeError, match=r"table/1 can't be written.*disk"),
    ):
        store.put("table/1", file)
    assert list(store.list("")) == ["first"]
    assert list((tmp_path / "lake" / INCOMPLETE).iterdir()) == []


@contextmanager
def _limited_file_size(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_object_files_are_read_only(tmp_path: Path) -> None:
    open_store(str(tmp_path)).create("a", b"x")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444


def test_a_symbolic_link_in_the_folder_is_rejected(tmp_path: Path, file: Path) -> None:
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


def test_the_folder_itself_can_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "lake").symlink_to("real")
    assert open_store(str(tmp_path / "lake")).create("a", b"x")
    assert (tmp_path / "real" / "a").read_bytes() == b"x"


def test_a_file_instead_of_the_folder_is_reported(file: Path) -> None:
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
        with pytest.raises(LakeError, match=rf"{file} \(Not a directory\): check that") as caught:
            use()
        assert not isinstance(caught.value, ObjectMissing)
    assert file.read_bytes() == b"content"


def test_a_folder_that_is_not_writable_is_reported() -> None:
    with pytest.raises(LakeError, match=r"^a can't be written to /sys/lake .*: check that it is"):
        open_store("/sys/lake").create("a", b"")


def test_an_object_can_not_be_created_below_another_object(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.create("a", b"")
    store.create("b/c", b"")
    for key in ("a/b", "b"):
        for content in (b"", b"x"):
            with pytest.raises(LakeError, match=f"{key} can't be written"):
                store.create(key, content)
