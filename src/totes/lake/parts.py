"""Uploads in parts to S3 that never replace an object: by boto3, as obstore's take no condition."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004  botocore's own
    HTTPClientError,
    NoCredentialsError,
)

from totes.failpoint import reach

AT_ONCE = 2
"""As many parts are in memory."""

MOST_PARTS = 10_000
"""S3's limit."""

_STATUS = {403: "403 Forbidden", 404: "404 Not Found", 409: "409 Conflict", 412: "412 Precondition"}

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"total_max_attempts": 6, "mode": "standard"},
    max_pool_connections=AT_ONCE,
    # What every store that speaks S3 understands, and obstore asks of it.
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


def client() -> Any:
    """S3, found by the variables that obstore finds it by."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return boto3.client("s3", region_name=region, config=_CONFIG)


def upload(s3: Any, bucket: str, key: str, path: Path, part_bytes: int) -> None:
    """Store a file in parts of at least `part_bytes` each, in constant memory.

    OSError in the words of obstore's driver where that fails, as where the key has an object. Then
    nothing is left, as far as the service lets it be removed.
    """
    size_bytes = path.stat().st_size
    part_bytes = max(part_bytes, -(-size_bytes // MOST_PARTS))
    numbers = range(1, -(-size_bytes // part_bytes) + 1)
    with _worded(), _begun(s3, {"Bucket": bucket, "Key": key}) as begun:
        reach("s3.before-parts")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            store = partial(_part, s3, begun, path, part_bytes)
            parts = list(pool.map(store, numbers))  # the first failure cancels those not yet begun
        s3.complete_multipart_upload(**begun, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
        reach("s3.parts-joined")


@contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = error.response.get("Error", {}).get("Code")
        raise OSError(f"{_STATUS.get(status, status)} <Code>{code}<") from error
    except NoCredentialsError as error:
        raise OSError("/latest/api/token") from error
    except (ConnectionError, HTTPClientError) as error:
        raise OSError("HTTP error") from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error


@contextmanager
def _begun(s3: Any, where: dict[str, str]) -> Iterator[dict[str, str]]:
    begun = {**where, "UploadId": s3.create_multipart_upload(**where)["UploadId"]}
    try:
        yield begun
    except BaseException:
        # Not when the process is killed: a lifecycle rule of the bucket ends those.
        with suppress(BotoCoreError, ClientError):
            s3.abort_multipart_upload(**begun)
        raise


def _part(s3: Any, begun: dict[str, str], path: Path, part_bytes: int, number: int) -> Any:
    with path.open("rb") as file:
        file.seek((number - 1) * part_bytes)
        stored = s3.upload_part(**begun, PartNumber=number, Body=file.read(part_bytes))
    return {"PartNumber": number, "ETag": stored["ETag"]}
