"""Where the tests of stores keep objects: a folder and a bucket."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from s3_service import S3Service


class Location(Protocol):
    """The location of a store, and a fast way to fill it."""

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
        """The keys of multipart uploads that were neither completed nor aborted."""
        return self._service.unfinished(self._bucket)

    def lock(self) -> None:
        """Keep all objects for a month from now on."""
        self._service.lock(self._bucket)

    def fill(self, keys: Iterable[str]) -> None:
        self._service.fill(self._bucket, (f"{self._prefix}/{key}".lstrip("/") for key in keys))
