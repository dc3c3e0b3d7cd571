"""A store in an S3 prefix, using boto3."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import md5
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.config import Config

from totes.aws_client import (
    AWS_ERRORS,
    INTERRUPTIONS,
    AwsError,
    Explanation,
    aws_client,
    error_code,
    explain,
)
from totes.errors import LakeError, LakeUnavailable, ObjectMissing
from totes.failpoint import reach
from totes.lake.key import is_valid_key, validate_key, validate_prefix
from totes.lake.store import ObjectInfo

PART_BYTES = 5 << 20
"""Larger files are uploaded in parts of at least this size, the minimum of S3."""

CONCURRENT_PARTS = 2
"""How many parts are uploaded concurrently, and are in memory."""

MAX_PARTS = 10_000
"""The maximum number of parts of an S3 upload."""

CHUNK_BYTES = 1 << 20

MAX_ATTEMPTS = 8
"""Maximum attempts of a request, and of a download that is interrupted."""

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"},
    # Settings that every S3-compatible service supports.
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def _client() -> Any:
    return aws_client("s3", config=_CONFIG)


class S3Store:
    """Objects below `s3://bucket/prefix`. Writing needs no permission to delete."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")

    def get(self, key: str) -> bytes:
        """Return the object's content; ObjectMissing if there is none."""
        with self._convert_errors(f"{key} can't be read from", key):
            return b"".join(self._read_chunks(key))

    def fetch(self, key: str, path: Path) -> None:
        """Copy the object to a local file, in constant memory; ObjectMissing if there is none."""
        with self._convert_errors(f"{key} can't be copied to {path} from", key):
            content = self._read_chunks(key)
            first = next(content, b"")  # the object may be missing: do not create the file then
            with path.open("wb") as file:
                file.writelines(chain([first], content))

    def put(self, key: str, path: Path) -> None:
        """Store a local file under a key that no other process uses, in constant memory.

        LakeError if the key has another content.
        """
        with self._convert_errors(f"{key} can't be written to"):
            is_large = path.stat().st_size > PART_BYTES
            data = b"" if is_large else path.read_bytes()
        if is_large:
            is_stored = self._store(
                key, partial(self._put_parts, key, path), partial(self._has_content, key, path)
            )
        else:
            is_stored = self.create(key, data)
        if not is_stored:
            raise LakeError(f"{key} in {self.url} already exists with a different content.")

    def create(self, key: str, data: bytes) -> bool:
        """Store `data` if `key` does not exist; return False if it has a different content."""
        return self._store(key, partial(self._put, key, data), lambda: self.get(key) == data)

    def secure(self, key: str) -> None:
        """Do nothing: an object in S3 is durable and immutable once it exists."""

    def exists(self, key: str) -> bool:
        """Return whether there is an object with this key."""
        # Not HEAD: its response has no body, so a missing bucket would look like a missing object.
        with suppress(ObjectMissing), self._convert_errors(f"{key} can't be read from", key):
            try:
                response = _client().get_object(**self._address(key), Range="bytes=0-0")
                with closing(response["Body"]) as body:
                    body.read()
            except aws.ClientError as error:
                if error_code(error) != "InvalidRange":  # the object is empty
                    raise
            return True
        return False

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys below `prefix` that follow `after`, in ascending order, page by page."""
        folder = validate_prefix(prefix, self.url)
        start = {"StartAfter": self._address(after)["Key"]} if after else {}
        with self._convert_errors(f"{folder or 'All objects'} can't be listed in"):
            for info in self._list_objects(folder, **start):
                if is_valid_key(info.key):  # the AWS console creates keys that end with a slash
                    yield info.key

    def list_objects(self) -> Iterator[ObjectInfo]:
        """Yield all objects in the order of their keys."""
        with self._convert_errors("All objects can't be listed in"):
            yield from self._list_objects()

    def delete(self, key: str) -> None:
        """Delete an object; no error if it does not exist."""
        with self._convert_errors(f"{key} can't be deleted from"):
            _client().delete_object(**self._address(key))

    def _address(self, key: str) -> dict[str, str]:
        full_key = "/".join(filter(None, (self._prefix, validate_key(key, self.url))))
        return {"Bucket": self._bucket, "Key": full_key}

    def _read_chunks(self, key: str) -> Iterator[bytes]:
        """Yield the object in chunks; after an interruption, continue at the same byte."""
        read_bytes, failures = 0, 0
        while True:
            remaining = {"Range": f"bytes={read_bytes}-"} if read_bytes else {}
            body = _client().get_object(**self._address(key), **remaining)["Body"]
            try:
                with closing(body):
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        read_bytes += len(chunk)
                        yield chunk
            except INTERRUPTIONS:
                failures += 1
                if failures == MAX_ATTEMPTS:
                    raise
            else:
                return

    def _list_objects(self, folder: str = "", **start: str) -> Iterator[ObjectInfo]:
        store_prefix = f"{self._prefix}/" if self._prefix else ""
        prefix = store_prefix + (f"{folder}/" if folder else "")
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, **start):
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(store_prefix)
                yield ObjectInfo(key, item["Size"], item["LastModified"])

    def _store(self, key: str, upload: Callable[[], None], has_content: Callable[[], bool]) -> bool:
        """Run `upload`; return False if `key` has a different content afterwards.

        After an error, `has_content` compares the stored object with the uploaded content.
        """
        try:
            with self._convert_errors(f"{key} can't be written to"):
                upload()
        except _DeniedError:
            raise  # even if the object exists: this attempt did not write it
        except LakeError as upload_error:
            # The object may exist despite the error: the response was lost, or another process
            # has written it.
            try:
                return has_content()
            except LakeError:
                raise upload_error from upload_error.__cause__
        return True

    def _has_content(self, key: str, path: Path) -> bool:
        with self._convert_errors(f"{key} can't be read from", key), path.open("rb") as file:
            is_equal = all(file.read(len(chunk)) == chunk for chunk in self._read_chunks(key))
            return is_equal and not file.read(1)

    def _put(self, key: str, data: bytes) -> None:
        reach("s3.before-object")
        _client().put_object(
            **self._address(key), Body=data, ContentMD5=_digest(data), IfNoneMatch="*"
        )
        reach("s3.object-stored")

    def _put_parts(self, key: str, path: Path) -> None:
        """Upload a file in parts, in constant memory."""
        size_bytes = path.stat().st_size
        part_bytes = max(PART_BYTES, -(-size_bytes // MAX_PARTS))
        numbers = range(1, -(-size_bytes // part_bytes) + 1)
        with self._upload(key) as upload:
            reach("s3.before-parts")
            with ThreadPoolExecutor(CONCURRENT_PARTS) as pool:
                part = partial(_put_part, upload, path, part_bytes)
                parts = list(pool.map(part, numbers))  # a failure cancels parts not yet started
            _client().complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
            reach("s3.upload-completed")

    @contextmanager
    def _upload(self, key: str) -> Iterator[dict[str, str]]:
        address = self._address(key)
        upload_id = _client().create_multipart_upload(**address)["UploadId"]
        upload = {**address, "UploadId": upload_id}
        try:
            yield upload
        except BaseException:
            # After a kill, a lifecycle rule of the bucket aborts the upload.
            with suppress(*AWS_ERRORS):
                _client().abort_multipart_upload(**upload)
            raise

    @contextmanager
    def _convert_errors(self, failure: str, key: str = "") -> Iterator[None]:
        """Raise a LakeError of one sentence; S3's response, which can be long, is its cause.

        ObjectMissing is raised only with `key`, for an object that is expected to exist.
        """
        try:
            yield
        except AWS_ERRORS as error:
            explanation = _explain(error)
            if key and explanation is _MISSING:
                raise ObjectMissing(f"There is no object {key} in {self.url}.") from error
            error_class = _ERROR_CLASSES.get(explanation, LakeError)
            raise error_class(
                f"{failure} {self.url}, {explanation.reason}: {explanation.advice}."
            ) from error
        except OSError as error:
            raise LakeError(f"{failure} {self.url}: {error.strerror} on this machine.") from error


def _put_part(upload: dict[str, str], path: Path, part_bytes: int, number: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        data = file.read(part_bytes)
    response = _client().upload_part(
        **upload, PartNumber=number, Body=data, ContentMD5=_digest(data)
    )
    return {"PartNumber": number, "ETag": response["ETag"]}


def _digest(data: bytes) -> str:
    """Return the header Content-MD5: the service rejects data that was altered on the way.

    S3 requires a digest for a bucket with Object Lock. Every compatible service knows this one.
    """
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


class _DeniedError(LakeError):
    """The credentials lack a permission."""


_MISSING = Explanation(
    "there is no such object", "check whether another program deletes objects there"
)
_CONFLICT = Explanation("another process is writing it", "run again")
_REGION = Explanation("the bucket is in another region", "set AWS_REGION to the bucket's region")
_UNKNOWN = Explanation("the service failed", "run again; --debug shows its response")

_DENIED = Explanation(
    "the credentials do not allow it",
    "grant them s3:GetObject, s3:PutObject and s3:ListBucket there",
)

_ERROR_CLASSES: dict[Explanation, type[LakeError]] = {
    _CONFLICT: LakeUnavailable,
    _DENIED: _DeniedError,
}

_EXPLANATIONS: dict[str | int, Explanation] = {
    "NoSuchBucket": Explanation("there is no such bucket", "create it or correct the URL"),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "InvalidObjectState": Explanation(
        "the object is archived",
        "restore it in S3, and exclude this prefix from the lifecycle rule",
    ),
    403: _DENIED,
    404: _MISSING,
    409: _CONFLICT,
    412: _CONFLICT,
    501: Explanation(
        "the service does not support conditional writes (`If-None-Match`)",
        "use a service that supports them",
    ),
}
"""Explanations of S3's own errors by the error code of its response, else by its HTTP status."""


def _explain(error: AwsError) -> Explanation:
    if isinstance(error, aws.ParamValidationError):
        return Explanation("S3 does not allow this name", "correct the URL")
    explanation = explain(error)
    if explanation is None and isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        explanation = _EXPLANATIONS.get(error_code(error)) or _EXPLANATIONS.get(status)
    return explanation or _UNKNOWN
