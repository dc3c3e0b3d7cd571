"""S3 and other AWS services for tests: moto, with simulated failures."""

import functools
import itertools
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Self
from wsgiref.types import StartResponse, WSGIEnvironment

import botocore.session
from botocore.retries import standard
from moto.s3.models import s3_backends
from serial_moto import Dispatcher
from werkzeug.serving import WSGIRequestHandler, make_server

from totes import aws_client
from totes.config import secrets

if TYPE_CHECKING:
    import pytest

SECRET = "a-secret-access-key"

botocore.session.create_loader = functools.cache(botocore.session.create_loader)
"""The sessions of all tests share what they read of the descriptions of AWS's services."""


@dataclass(frozen=True)
class Fault:
    """A failure of the next requests with one HTTP method, `times` in all.

    With a `status`, the service returns it and does nothing. Without, the service executes the
    request, and the connection breaks after `sent_bytes` of the response body; with 0, before the
    response.
    """

    method: str
    status: str = ""
    code: str = ""
    times: int = 1_000_000
    sent_bytes: int = 0


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None: ...


NO_PAUSES = ("non_throttling_base_scale", 0.0)
"""A setting of boto3: no pauses between attempts."""


def forget_clients() -> None:
    """Discard cached clients and secrets, after a change of the AWS configuration."""
    aws_client._client.cache_clear()
    aws_client._session.cache_clear()
    secrets._fetched.clear()


_BUCKET_NUMBERS = itertools.count(1)
"""Of all servers: moto keeps buckets per process."""


class S3Service:
    """A server for the test session; each test uses its own bucket."""

    def __init__(self) -> None:
        self._moto = Dispatcher()
        self._server = make_server(
            "127.0.0.1", 0, self._respond, threaded=True, request_handler=_Silent
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._lock = threading.Lock()
        self.fault: Fault | None = None
        self.faults = 0
        self.conditional = True
        """Whether the service supports `If-None-Match`, which some S3 services ignore."""
        self.authorizations: list[str] = []
        """The Authorization headers of all requests."""
        self.without_digest: list[str] = []
        """Paths of writes without the header Content-MD5."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, patch: "pytest.MonkeyPatch") -> None:
        """Set the AWS variables to this service."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setitem(standard.ExponentialBackoff._DEFAULT_BACKOFF_CONFIG, *NO_PAUSES)
        for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(variable, os.devnull)
        forget_clients()

    def new_bucket(self) -> str:
        name = f"bucket-{next(_BUCKET_NUMBERS)}"
        connection = HTTPConnection("127.0.0.1", self._server.server_port)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return name

    def fill(self, bucket: str, keys: Iterable[str]) -> None:
        """Create empty objects, without HTTP requests."""
        for key in keys:
            s3_backends["123456789012"]["aws"].put_object(bucket, key, b"")

    def lock(self, bucket: str) -> None:
        """Switch on Object Lock, which keeps all objects for a month from now on."""
        backend = s3_backends["123456789012"]["aws"]
        backend.put_bucket_versioning(bucket, "Enabled")
        backend.put_object_lock_configuration(
            bucket, lock_enabled=True, mode="GOVERNANCE", days=30, years=0
        )

    def unfinished(self, bucket: str) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        uploads = s3_backends["123456789012"]["aws"].list_multipart_uploads(bucket)
        return [upload.key_name for upload in uploads.values()]

    def fail(self, fault: Fault | None) -> None:
        self.fault, self.faults = fault, 0

    def _respond(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.authorizations.append(environ.get("HTTP_AUTHORIZATION", ""))
        if environ["REQUEST_METHOD"] == "PUT" and "HTTP_CONTENT_MD5" not in environ:
            self.without_digest.append(environ["PATH_INFO"])
        fault = self.fault
        if fault and fault.method == environ["REQUEST_METHOD"] and self.faults < fault.times:
            self.faults += 1
            if fault.status:
                if "json" in environ.get("CONTENT_TYPE", ""):  # not S3
                    start(fault.status, [("Content-Type", environ["CONTENT_TYPE"])])
                    return [f'{{"__type": "{fault.code}"}}'.encode()]
                start(fault.status, [("Content-Type", "application/xml")])
                return [f"<Error><Code>{fault.code}</Code></Error>".encode()]
            response = b"".join(self._serve(environ, start))
            return _interrupt(response[: fault.sent_bytes], environ["werkzeug.socket"])
        return self._serve(environ, start)

    def _serve(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        response: Iterable[bytes]
        if not self.conditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:  # S3 checks and writes atomically, moto does not
            response = self._moto(environ, start)
        return response


def _interrupt(sent: bytes, connection: socket.socket) -> Iterator[bytes]:
    if sent:
        yield sent
    connection.shutdown(socket.SHUT_RDWR)
