"""An S3 prefix as a store, by boto3: credentials, region and endpoint come from AWS's own settings.

These are the variables (`AWS_…`), the profiles of ~/.aws with single sign-on, and the roles of the
machine, container or function.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config

from totes.errors import LakeAway, LakeError, ObjectMissing
from totes.failpoint import reach
from totes.lake.key import checked, checked_prefix, is_key
from totes.lake.store import Object

PART_BYTES = 5 << 20
"""Larger files are uploaded in parts of at least this size, the smallest that S3 accepts."""

PARTS_AT_ONCE = 2
"""So many parts are in memory."""

MOST_PARTS = 10_000
"""S3's limit."""

CHUNK_BYTES = 1 << 20

ATTEMPTS = 8
"""Of a request, and of a download that breaks off."""

_BROKEN_OFF = (aws.HTTPClientError, aws.IncompleteReadError)

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    # What every S3-compatible store understands.
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


@cache
def _client() -> Any:
    """One for the process: threads may share it, and it takes 0.1 s to make."""
    try:
        # AWS_REGION is every SDK's but boto3's, which knows the other sources of a region.
        region = os.environ.get("AWS_REGION") or None
        return Session().client("s3", region_name=region, config=_CONFIG)
    except ValueError as error:  # boto3 has no type for a malformed endpoint
        raise aws.InvalidConfigError(error_msg=str(error)) from error


class S3Store:
    """Objects below `s3://bucket/prefix`; who writes needs no right to delete."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")

    def get(self, key: str) -> bytes:
        with self._failing(f"{key} can't be read from", key):
            return b"".join(self._content(key))

    def fetch(self, key: str, path: Path) -> None:
        with self._failing(f"{key} can't be copied to {path} from", key):
            content = self._content(key)
            first = next(content, b"")  # before there is a file: the object may be missing
            with path.open("wb") as copy:
                copy.writelines(chain([first], content))

    def put(self, key: str, path: Path) -> None:
        with self._failing(f"{key} can't be written to"):
            large = path.stat().st_size > PART_BYTES
            data = b"" if large else path.read_bytes()
        if large:
            stored = self._stored(
                key, partial(self._put_parts, key, path), partial(self._holds, key, path)
            )
        else:
            stored = self.create(key, data)
        if not stored:
            raise LakeError(f"{key} in {self.url} exists already with another content.")

    def create(self, key: str, data: bytes) -> bool:
        return self._stored(key, partial(self._put, key, data), lambda: self.get(key) == data)

    def exists(self, key: str) -> bool:
        # Not HEAD: its answer has no body, so a missing bucket would look like a missing object.
        with suppress(ObjectMissing), self._failing(f"{key} can't be found in", key):
            try:
                answer = _client().get_object(**self._address(key), Range="bytes=0-0")
                with closing(answer["Body"]) as body:
                    body.read()
            except aws.ClientError as error:
                if _code(error) != "InvalidRange":  # an empty object has no first byte
                    raise
            return True
        return False

    def list(self, prefix: str, after: str = "") -> Iterator[str]:
        folder = checked_prefix(prefix, self.url)
        start = {"StartAfter": self._address(after)["Key"]} if after else {}
        with self._failing(f"{folder or 'everything'} can't be listed in"):
            for one in self._objects(folder, **start):
                if is_key(one.key):  # not the folders that AWS's console makes
                    yield one.key

    def objects(self) -> Iterator[Object]:
        with self._failing("Everything can't be listed in"):
            yield from self._objects()

    def remove(self, key: str) -> None:
        with self._failing(f"{key} can't be removed from"):
            _client().delete_object(**self._address(key))

    def _address(self, key: str) -> dict[str, str]:
        whole = "/".join(filter(None, (self._prefix, checked(key, self.url))))
        return {"Bucket": self._bucket, "Key": whole}

    def _content(self, key: str) -> Iterator[bytes]:
        """The object in chunks; where the connection breaks, it goes on at the same byte."""
        read_bytes, failures = 0, 0
        while True:
            rest = {"Range": f"bytes={read_bytes}-"} if read_bytes else {}
            body = _client().get_object(**self._address(key), **rest)["Body"]
            try:
                with closing(body):
                    for chunk in body.iter_chunks(CHUNK_BYTES):
                        read_bytes += len(chunk)
                        yield chunk
            except _BROKEN_OFF:
                failures += 1
                if failures == ATTEMPTS:
                    raise
            else:
                return

    def _objects(self, folder: str = "", **start: str) -> Iterator[Object]:
        outer = f"{self._prefix}/" if self._prefix else ""
        inner = f"{folder}/" if folder else ""
        pages = _client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=outer + inner, **start):
            for one in page.get("Contents", ()):
                yield Object(one["Key"].removeprefix(outer), one["Size"], one["LastModified"])

    def _stored(self, key: str, store: Callable[[], None], holds: Callable[[], bool]) -> bool:
        """Whether `key` has the content that `store` uploads; `holds` compares them."""
        try:
            with self._failing(f"{key} can't be written to"):
                store()
        except _DeniedError:
            raise  # also where the object is there: this attempt did not write it
        except LakeError as refused:
            # Whatever the answer was: if the object is there, ours or a rival's came through.
            try:
                return holds()
            except LakeError:
                raise refused from refused.__cause__
        return True

    def _holds(self, key: str, path: Path) -> bool:
        with self._failing(f"{key} can't be read from", key), path.open("rb") as file:
            same = all(file.read(len(chunk)) == chunk for chunk in self._content(key))
            return same and not file.read(1)

    def _put(self, key: str, data: bytes) -> None:
        reach("s3.before-object")
        _client().put_object(**self._address(key), Body=data, IfNoneMatch="*")
        reach("s3.object-stored")

    def _put_parts(self, key: str, path: Path) -> None:
        """In constant memory; what fails is removed again, as far as the service allows it."""
        size_bytes = path.stat().st_size
        part_bytes = max(PART_BYTES, -(-size_bytes // MOST_PARTS))
        numbers = range(1, -(-size_bytes // part_bytes) + 1)
        with self._upload(key) as upload:
            reach("s3.before-parts")
            with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                part = partial(_put_part, upload, path, part_bytes)
                parts = list(pool.map(part, numbers))  # a failure cancels those not yet begun
            _client().complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
            reach("s3.parts-joined")

    @contextmanager
    def _upload(self, key: str) -> Iterator[dict[str, str]]:
        address = self._address(key)
        upload_id = _client().create_multipart_upload(**address)["UploadId"]
        upload = {**address, "UploadId": upload_id}
        try:
            yield upload
        except BaseException:
            # Not when the process is killed: a lifecycle rule of the bucket ends those.
            with suppress(aws.BotoCoreError, aws.ClientError):
                _client().abort_multipart_upload(**upload)
            raise

    @contextmanager
    def _failing(self, what: str, key: str = "") -> Iterator[None]:
        """Any failure as one sentence; S3's own answer, which may show much, stays its cause."""
        try:
            yield
        except (aws.BotoCoreError, aws.ClientError) as error:
            meaning = _meaning(error)
            if key and meaning is _MISSING:
                raise ObjectMissing(f"There is no {key} in {self.url}.") from error
            kind = {_RIVAL: LakeAway, _DENIED: _DeniedError}.get(meaning, LakeError)
            raise kind(f"{what} {self.url}, {meaning.reason}: {meaning.advice}.") from error
        except OSError as error:
            raise LakeError(f"{what} {self.url}: {error.strerror} on this machine.") from error


def _put_part(upload: dict[str, str], path: Path, part_bytes: int, number: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        stored = _client().upload_part(**upload, PartNumber=number, Body=file.read(part_bytes))
    return {"PartNumber": number, "ETag": stored["ETag"]}


class _DeniedError(LakeError):
    """The credentials lack a right."""


class _Meaning(NamedTuple):
    """What a failure means to a person."""

    reason: str
    advice: str


_MISSING = _Meaning("there is no such object", "look whether something else deletes there")
_RIVAL = _Meaning("another process is writing it at this moment", "run again")
_REGION = _Meaning("the bucket is in another region", "set AWS_REGION to the bucket's own")
_INVALID = _Meaning(
    "the credentials are not valid",
    "renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where used, AWS_SESSION_TOKEN",
)
_UNKNOWN = _Meaning("the service failed", "run again; --debug shows its answer")

_DENIED = _Meaning(
    "the credentials do not allow it",
    "grant them s3:GetObject, s3:PutObject and s3:ListBucket there",
)

_ANSWERS: dict[str | int, _Meaning] = {
    "NoSuchBucket": _Meaning("there is no such bucket", "create it or correct the URL"),
    "InvalidAccessKeyId": _INVALID,
    "SignatureDoesNotMatch": _INVALID,
    "ExpiredToken": _INVALID,
    "InvalidToken": _INVALID,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "RequestTimeTooSkewed": _Meaning("this machine's clock is wrong", "set it"),
    "InvalidObjectState": _Meaning("the object is archived", "restore it in S3 first"),
    403: _DENIED,
    404: _MISSING,
    409: _RIVAL,
    412: _RIVAL,
    501: _Meaning(
        "the service can't do what the lake needs",
        "use one that knows conditional writes (`If-None-Match`)",
    ),
}
"""By the error code of S3's answer, else by its HTTP status."""

_FAILURES: dict[tuple[type[Exception], ...], _Meaning] = {
    (aws.NoCredentialsError, aws.PartialCredentialsError): _Meaning(
        "no credentials were found",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine"
        " a role",
    ),
    (
        aws.CredentialRetrievalError,
        aws.LoginError,
        aws.RefreshWithMFAUnsupportedError,
        aws.SSOError,
        aws.TokenRetrievalError,
    ): _Meaning(
        "the credentials can't be had",
        "sign in again (`aws sso login`), or see what AWS_PROFILE leads to",
    ),
    (
        aws.ConfigNotFound,
        aws.ConfigParseError,
        aws.EndpointProviderError,
        aws.InvalidConfigError,
        aws.InvalidRegionError,
        aws.ProfileNotFound,
    ): _Meaning(
        "AWS's settings are not valid",
        "correct AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL or ~/.aws",
    ),
    (aws.ParamValidationError,): _Meaning("S3 allows no such name", "correct the URL"),
    (aws.SSLError,): _Meaning(
        "no secure connection can be made",
        "correct AWS_ENDPOINT_URL, or name the file of its authority's certificate in"
        " AWS_CA_BUNDLE",
    ),
    (aws.ConnectionError, *_BROKEN_OFF): _Meaning(
        "the service can't be reached", "check the network and, where used, AWS_ENDPOINT_URL"
    ),
}
"""By the type of a failure without an answer, the first that fits."""


def _meaning(error: aws.BotoCoreError | aws.ClientError) -> _Meaning:
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _ANSWERS.get(_code(error)) or _ANSWERS.get(status) or _UNKNOWN
    return next((found for kinds, found in _FAILURES.items() if isinstance(error, kinds)), _UNKNOWN)


def _code(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code"))
