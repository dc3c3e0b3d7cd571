"""The store: one small contract, with a folder or an S3 prefix behind it.

Promises of every implementation, held by `tests/test_store.py` over both:
- Objects are immutable: nothing here overwrites or deletes one.
- An object is seen whole or not at all, and what a `put` or `create` returned from is durable.
- `create` is the only arbiter between rivals: for one key exactly one content ever wins.
- A listing is fresh: `list`, `exists` and `get` see every object whose `put` or `create` returned
  before they were asked, whoever wrote it (so does S3 since 2020). What is older than that does no
  harm: it can cost an attempt, and neither loses nor doubles anything.
- Any failure but a missing object is a LakeError that names the object and the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Keys are relative paths with forward slashes, values are bytes."""

    url: str
    """Where it is, fit to be shown (no secret in it)."""

    def get(self, key: str) -> bytes:
        """The object; raises ObjectMissing where there is none."""
        ...

    def fetch(self, key: str, path: Path) -> None:
        """Copy the object to the local file `path`, in constant memory; ObjectMissing."""
        ...

    def put(self, key: str, path: Path) -> None:
        """Store the local file under a key that nobody else uses, in constant memory."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless `key` exists; False when it exists with another content.

        True also when it exists with this content: the answer to an earlier try was lost.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Keys below `prefix` in ascending order, those after `after`, a page at a time."""
        ...


@dataclass(frozen=True)
class Object:
    """What a sweeper is told of an object."""

    key: str
    size_bytes: int
    modified_at: datetime


class SweptStore(Store, Protocol):
    """A Store that can also be rid of something: for `totes gc` alone, no stage may ask for it."""

    def objects(self) -> Iterator[Object]:
        """Everything in it in the order of keys, what was left half written included."""
        ...

    def remove(self, key: str) -> None:
        """Remove one of them; one that is gone already is removed."""
        ...
