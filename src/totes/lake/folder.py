"""A store in a local folder: durable, and safe for concurrent processes of one machine."""

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
from totes.lake.key import validate_key, validate_prefix
from totes.lake.store import DeletableStore, ObjectInfo

INCOMPLETE = ".incoming"
"""Folder of incomplete objects; files that a killed process left there are harmless."""

CHUNK_BYTES = 1 << 20
READ_ONLY_MODE = 0o444


class FolderStore(DeletableStore):
    """Objects are read-only files below one folder, which the first write creates."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._durable_folders: set[Path] = set()
        self.url = str(self._root)

    @override
    def get(self, key: str) -> bytes:
        with self._open(key) as content, self._convert_errors(f"{key} can't be read from"):
            return content.read()

    @override
    def fetch(self, key: str, path: Path) -> None:
        with (
            self._open(key) as content,
            self._convert_errors(f"{key} can't be copied to {path} from"),
            path.open("wb") as copy,
        ):
            shutil.copyfileobj(content, copy, CHUNK_BYTES)

    @override
    def put(self, key: str, path: Path) -> None:
        with self._convert_errors(f"{key} can't be written to"), path.open("rb") as content:
            if not self._publish(key, content):
                raise LakeError(f"{key} in {self.url} already exists with a different content.")

    @override
    def create(self, key: str, data: bytes) -> bool:
        with self._convert_errors(f"{key} can't be written to"):
            return self._publish(key, BytesIO(data))

    @override
    def secure(self, key: str) -> None:
        with self._convert_errors(f"{key} can't be written to"):
            path = self._path(key)
            self._make_durable_folder(path.parent)
            path.chmod(READ_ONLY_MODE)
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            _sync_folder(path.parent)

    @override
    def exists(self, key: str) -> bool:
        with self._convert_errors(f"{key} can't be read in"):
            return self._path(key).is_file()

    @override
    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        folder = validate_prefix(prefix, self.url)
        after = after and validate_key(after, self.url)
        with self._convert_errors(f"{prefix or 'All objects'} can't be listed in"):
            if (self._path(folder) if folder else self._root_folder()).is_dir():
                yield from self._walk(folder and f"{folder}/", after)

    @override
    def list_objects(self) -> Iterator[ObjectInfo]:
        with self._convert_errors("Incomplete objects can't be listed in"):
            incomplete = sorted((self._root / INCOMPLETE).glob("*"))
        for key in chain((f"{INCOMPLETE}/{path.name}" for path in incomplete), self.list("")):
            with self._convert_errors(f"{key} can't be read in"), suppress(FileNotFoundError):
                status = (self._root / key).stat(follow_symlinks=False)
                yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    @override
    def delete(self, key: str) -> None:
        name = key.removeprefix(f"{INCOMPLETE}/")
        path = (
            self._path(name)
            if name == key
            else self._root / INCOMPLETE / validate_key(name, self.url)
        )
        with self._convert_errors(f"{key} can't be deleted from"):
            path.unlink(missing_ok=True)

    def _walk(self, folder: str, after: str) -> Iterator[str]:
        """Yield sorted keys; a folder is sorted by its name with a slash at the end."""
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
        """Write durably, then make visible; return False if the key has a different content."""
        path = self._path(key)
        incomplete = self._root / INCOMPLETE / f"{os.getpid()}-{secrets.token_hex(8)}"
        self._make_durable_folder(incomplete.parent)
        self._make_durable_folder(path.parent)
        try:
            handle = os.open(incomplete, os.O_CREAT | os.O_EXCL | os.O_WRONLY, READ_ONLY_MODE)
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(content, file, CHUNK_BYTES)
                file.flush()
                os.fsync(handle)
            reach("folder.written")
            try:
                os.link(incomplete, path)  # never replaces: only one of several writers succeeds
            except FileExistsError:
                if not _have_same_content(incomplete, path):
                    return False
            reach("folder.linked")
            _sync_folder(path.parent)
        finally:
            incomplete.unlink(missing_ok=True)
        return True

    def _make_durable_folder(self, folder: Path) -> None:
        """Create `folder`, and sync its parent so that its entry survives a power failure.

        An existing folder is synced too: the process that created it may have been killed before.
        """
        if folder in self._durable_folders:
            return
        parent = folder.parent
        if parent.is_relative_to(self._root) or not parent.is_dir():
            self._make_durable_folder(parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(parent)
        self._durable_folders.add(folder)

    def _path(self, key: str) -> Path:
        path = self._root_folder() / validate_key(key, self.url)
        if any(part.is_symlink() for part in (path, *path.parents[: key.count("/")])):
            raise LakeError(
                f"{key} in {self.url} is reached by a symbolic link: replace the link by a copy of "
                "its target."
            )
        return path

    def _root_folder(self) -> Path:
        """Return the root, which may be missing; OSError if it is not a folder."""
        if self._root.exists() and not self._root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return self._root

    def _open(self, key: str) -> BinaryIO:
        with self._convert_errors(f"{key} can't be read from"):
            path = self._path(key)
            try:
                return path.open("rb")
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise ObjectMissing(f"There is no object {key} in {self.url}.") from error

    @contextmanager
    def _convert_errors(self, failure: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LakeError(
                f"{failure} {self.url} ({error.strerror}): check that it is a folder that this "
                "user may read and write, on a disk with free space."
            ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _have_same_content(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(CHUNK_BYTES):
            if chunk != right.read(CHUNK_BYTES):
                return False
        return not right.read(1)
