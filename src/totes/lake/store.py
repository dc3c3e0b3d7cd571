"""The interface of a store, implemented by a folder and by an S3 prefix.

Guarantees of every implementation, tested by `tests/integration/test_store.py` for both:
- Objects are immutable: no method of `Store` overwrites or deletes one.
- Readers see an object completely or not at all; it is durable once `put` or `create` returns.
- If several writers call `create` for one key, exactly one content is stored.
- Reads are consistent: `list`, `exists` and `get` see every object whose `put` or `create` returned
  before the call, whichever process wrote it (S3 guarantees this since 2020). A stale listing would
  cost a retry, but neither lose nor duplicate data.
- Every failure except a missing object is a LakeError that names the object and the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Objects by key: keys are relative paths with forward slashes, values are bytes."""

    url: str
    """The location, without secrets."""

    def get(self, key: str) -> bytes:
        """Return the object's content; ObjectMissing if there is none."""
        ...

    def fetch(self, key: str, path: Path) -> None:
        """Copy the object to a local file, in constant memory; ObjectMissing if there is none."""
        ...

    def put(self, key: str, path: Path) -> None:
        """Store a local file under a key that no other process uses, in constant memory.

        LakeError if the key has another content.
        """
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Store `data` if `key` does not exist; return False if it has a different content.

        Return True also if it already has this content: the response to an earlier attempt may have
        been lost.
        """
        ...

    def secure(self, key: str) -> None:
        """Make the object that a cluster has written under this key durable and read-only."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys below `prefix` that follow `after`, in ascending order, page by page."""
        ...


@dataclass(frozen=True)
class ObjectInfo:
    """Key, size and modification time of an object."""

    key: str
    size_bytes: int
    modified_at: datetime


class DeletableStore(Store, Protocol):
    """A Store that can delete objects; only for `totes gc`, not for the stages."""

    def list_objects(self) -> Iterator[ObjectInfo]:
        """Yield all objects in the order of their keys, including incomplete ones."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; no error if it does not exist."""
        ...
