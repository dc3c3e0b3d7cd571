"""A folder as a store: durable, and safe between processes of one machine."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO, override

from totes.errors import LakeError, ObjectMissing
from totes.failpoint import reach
from totes.lake.key import checked, checked_prefix
from totes.lake.store import Object, SweptStore

INCOMING = ".incoming"
"""Where objects are written before they get their name; what a killed process left is harmless."""

CHUNK_BYTES = 1 << 20
READ_ONLY = 0o444


class FolderStore(SweptStore):
    """Objects are read-only files below one folder, which is made by the first write."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._settled: set[Path] = set()
        self.url = str(self._root)

    @override
    def get(self, key: str) -> bytes:
        with self._open(key) as content, self._failing(f"{key} can't be read from"):
            return content.read()

    @override
    def fetch(self, key: str, path: Path) -> None:
        with (
            self._open(key) as content,
            self._failing(f"{key} can't be copied to {path} from"),
            path.open("wb") as copy,
        ):
            shutil.copyfileobj(content, copy, CHUNK_BYTES)

    @override
    def put(self, key: str, path: Path) -> None:
        with self._failing(f"{key} can't be written to"), path.open("rb") as content:
            if not self._publish(key, content):
                raise LakeError(f"{key} in {self.url} exists already with another content.")

    @override
    def create(self, key: str, data: bytes) -> bool:
        with self._failing(f"{key} can't be written to"):
            return self._publish(key, BytesIO(data))

    @override
    def exists(self, key: str) -> bool:
        with self._failing(f"{key} can't be found in"):
            return self._path(key).is_file()

    @override
    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        folder = checked_prefix(prefix, self.url)
        after = after and checked(after, self.url)
        with self._failing(f"{prefix or 'Everything'} can't be listed in"):
            if (self._path(folder) if folder else self._checked_root()).is_dir():
                yield from self._walk(folder and f"{folder}/", after)

    @override
    def objects(self) -> Iterator[Object]:
        with self._failing("The files can't be listed in"):
            incoming = sorted((self._root / INCOMING).glob("*"))
        for key in chain((f"{INCOMING}/{path.name}" for path in incoming), self.list("")):
            with self._failing(f"{key} can't be looked at in"), suppress(FileNotFoundError):
                found = (self._root / key).stat(follow_symlinks=False)
                yield Object(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    @override
    def remove(self, key: str) -> None:
        name = key.removeprefix(f"{INCOMING}/")
        path = self._path(name) if name == key else self._root / INCOMING / checked(name, self.url)
        with self._failing(f"{key} can't be removed from"):
            path.unlink(missing_ok=True)

    def _walk(self, folder: str, after: str) -> Iterator[str]:
        """Keys in the order of their characters: a folder sorts as its name and the slash."""
        with os.scandir(self._root / folder) as entries:
            names = sorted(
                f"{folder}{entry.name}{'/' if entry.is_dir(follow_symlinks=False) else ''}"
                for entry in entries
                if not entry.is_symlink() and (folder or not entry.name.startswith("."))
            )
        for name in names:
            if not name.endswith("/"):
                if name > after:
                    yield name
            elif name > after or after.startswith(name):
                yield from self._walk(name, after)

    def _publish(self, key: str, content: BinaryIO) -> bool:
        """Write, make durable, then make visible; False when another content has the key."""
        path = self._path(key)
        incoming = self._root / INCOMING / f"{os.getpid()}-{secrets.token_hex(8)}"
        self._settle(incoming.parent)
        self._settle(path.parent)
        try:
            handle = os.open(incoming, os.O_CREAT | os.O_EXCL | os.O_WRONLY, READ_ONLY)
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)
                file.flush()
                os.fsync(handle)
            reach("folder.written")
            try:
                os.link(incoming, path)  # never replaces: exactly one rival succeeds
            except FileExistsError:
                if not _same(incoming, path):
                    return False
            reach("folder.linked")
            _sync(path.parent)
        finally:
            incoming.unlink(missing_ok=True)
        return True

    def _settle(self, folder: Path) -> None:
        """Make `folder` and see to it that its entry survives a power cut.

        Also where it exists already: its maker may have died before making it durable.
        """
        if folder in self._settled:
            return
        parent = folder.parent
        if parent.is_relative_to(self._root) or not parent.is_dir():
            self._settle(parent)
        folder.mkdir(exist_ok=True)
        _sync(parent)
        self._settled.add(folder)

    def _path(self, key: str) -> Path:
        path = self._checked_root() / checked(key, self.url)
        if any(part.is_symlink() for part in (path, *path.parents[: key.count("/")])):
            raise LakeError(
                f"{key} in {self.url} leads through a symbolic link: put the object itself there."
            )
        return path

    def _checked_root(self) -> Path:
        """The folder, not yet there or there; everything below may then be plainly missing."""
        if self._root.exists() and not self._root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return self._root

    def _open(self, key: str) -> BinaryIO:
        with self._failing(f"{key} can't be read from"):
            path = self._path(key)
            try:
                return path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise ObjectMissing(f"There is no {key} in {self.url}.") from error

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LakeError(
                f"{what} {self.url} ({error.strerror}): see that it is a folder this user may "
                "read and write, on a disk with room."
            ) from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(CHUNK_BYTES):
            if chunk != right.read(CHUNK_BYTES):
                return False
        return not right.read(1)
