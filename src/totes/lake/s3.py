"""An S3 prefix as a store; credentials, region and endpoint are in AWS's own variables."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as _Bucket

from totes.errors import LakeAway, LakeError, ObjectMissing
from totes.failpoint import reach
from totes.lake.key import checked, checked_prefix
from totes.lake.store import Object

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PART_BYTES = 5 << 20
"""Larger files go up in parts of this size, S3's least, two at a time."""

CHUNK_BYTES = 1 << 20

PAGE_KEYS = 1000

_RETRY: "RetryConfig" = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_CLIENT: "ClientConfig" = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "10m"}


class S3Store:
    """Objects below `s3://bucket/prefix`; who writes needs no right to delete."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._name, self._prefix = parts.netloc, parts.path.strip("/")
        plain_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self._bucket = _Bucket(
            self._name,
            prefix=self._prefix or None,
            client_options={**_CLIENT, "allow_http": plain_http},
            retry_config=_RETRY,
        )

    def get(self, key: str) -> bytes:
        with self._failing(f"{key} can't be read from", key):
            return bytes(obstore.get(self._bucket, checked(key, self.url)).bytes())

    def fetch(self, key: str, path: Path) -> None:
        with self._failing(f"{key} can't be copied to {path} from", key):
            content = obstore.get(self._bucket, checked(key, self.url))
            with path.open("wb") as copy:
                for chunk in content.stream(CHUNK_BYTES):
                    copy.write(chunk)

    def put(self, key: str, path: Path) -> None:
        with self._failing(f"{key} can't be written to"):
            large = path.stat().st_size > PART_BYTES
            data = b"" if large else path.read_bytes()
        if not (self._create_in_parts(key, path) if large else self.create(key, data)):
            raise LakeError(f"{key} in {self.url} exists already with another content.")

    def _create_in_parts(self, key: str, path: Path) -> bool:
        from totes.lake.parts import upload  # noqa: PLC0415  few files are so large

        whole_key = "/".join(filter(None, (self._prefix, checked(key, self.url))))
        try:
            with self._failing(f"{key} can't be written to"):
                upload(self._boto3, self._name, whole_key, path, PART_BYTES)
        except LakeError as refused:
            try:
                return self._holds(key, path)
            except LakeError:
                raise refused from refused.__cause__
        return True

    @cached_property
    def _boto3(self) -> Any:
        from totes.lake.parts import client  # noqa: PLC0415

        return client()

    def _holds(self, key: str, path: Path) -> bool:
        """Whether the object is there as the local file has it; LakeError where it is missing."""
        with self._failing(f"{key} can't be read from", key), path.open("rb") as file:
            content = obstore.get(self._bucket, key)
            if content.meta["size"] != path.stat().st_size:
                return False
            return all(file.read(len(chunk)) == chunk for chunk in content.stream(CHUNK_BYTES))

    def create(self, key: str, data: bytes) -> bool:
        try:
            with self._failing(f"{key} can't be written to"):
                reach("s3.before-object")
                obstore.put(self._bucket, checked(key, self.url), data, mode="create")
                reach("s3.object-stored")
        except _Denied:
            raise  # also where the object is there: this attempt did not write it
        except LakeError as refused:
            # Whatever the answer was: if the object is there, ours or a rival's came through.
            try:
                return self.get(key) == data
            except LakeError:
                raise refused from refused.__cause__
        return True

    def exists(self, key: str) -> bool:
        checked(key, self.url)
        # Only the answer to GET tells a missing object from a missing bucket.
        for ask in (obstore.head, obstore.get):
            with suppress(ObjectMissing), self._failing(f"{key} can't be found in", key):
                ask(self._bucket, key)
                return True
        return False

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        folder = checked_prefix(prefix, self.url)
        after = after and checked(after, self.url)
        with self._failing(f"{folder or 'everything'} can't be listed in"):
            pages = obstore.list(
                self._bucket, folder or None, offset=after or None, chunk_size=PAGE_KEYS
            )
            for page in pages:
                yield from (entry["path"] for entry in page)

    def objects(self) -> Iterator[Object]:
        with self._failing("Everything can't be listed in"):
            for page in obstore.list(self._bucket, chunk_size=PAGE_KEYS):
                for entry in page:
                    yield Object(entry["path"], entry["size"], entry["last_modified"])

    def remove(self, key: str) -> None:
        with self._failing(f"{key} can't be removed from"):
            obstore.delete(self._bucket, checked(key, self.url))

    @contextmanager
    def _failing(self, what: str, key: str = "") -> Iterator[None]:
        """Any failure as one sentence; S3's own answer, which may show much, stays its cause."""
        try:
            yield
        except (BaseError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise LakeError(f"{what} {self.url}: {error.strerror} on this machine.") from error
            text = str(error)
            reason, advice = next(
                (meaning for sign, meaning in _MEANINGS.items() if re.search(sign, text)), _UNKNOWN
            )
            if key and reason == _MISSING[0]:
                raise ObjectMissing(f"There is no {key} in {self.url}.") from error
            kind = {_RIVAL[0]: LakeAway, _DENIED[0]: _Denied}.get(reason, LakeError)
            raise kind(f"{what} {self.url}, {reason}: {advice}.") from error


class _Denied(LakeError):
    """The credentials lack a right."""


_DENIED = (
    "the credentials do not allow it",
    "grant them s3:GetObject, s3:PutObject and s3:ListBucket there",
)
_MISSING = ("there is no such object", "look whether something else deletes there")
_RIVAL = ("another process is writing it at this moment", "run again")
_MEANINGS = {
    "<Code>NoSuchBucket<": ("there is no such bucket", "create it or correct the URL"),
    "404 Not Found": _MISSING,
    "//169.254.|/latest/api/token": (
        "no credentials were found",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role",
    ),
    "<Code>(InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken)<": (
        "the credentials are not valid",
        "renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where used, AWS_SESSION_TOKEN",
    ),
    "403 Forbidden": _DENIED,
    "configured region|<Code>(PermanentRedirect|AuthorizationHeaderMalformed)<": (
        "the bucket is in another region",
        "set AWS_REGION to the bucket's own",
    ),
    "409 Conflict|412 Precondition": _RIVAL,
    "HTTP error": (
        "the service can't be reached",
        "check the network and, where used, AWS_ENDPOINT_URL",
    ),
}
"""A sign in the driver's text, and what it means to a person: the reason, and what to do."""
_UNKNOWN = ("the service failed", "run again; --debug shows its answer")
