"""S3, and AWS's other services, for the tests: moto, made to fail as a network does."""

import itertools
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Self
from wsgiref.types import StartResponse, WSGIEnvironment

from botocore.retries import standard
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from totes.lake import s3

if TYPE_CHECKING:
    import pytest

SECRET = "a-secret-nobody-may-see"


@dataclass(frozen=True)
class Fault:
    """Happens to the next requests of one method, `times` of them.

    With a `status` the service answers that and does nothing; without, it does as it is told and
    the connection breaks after `sent_bytes` of the answer's body, before its head if that is 0.
    """

    method: str
    status: str = ""
    code: str = ""
    times: int = 1_000_000
    sent_bytes: int = 0


class _Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None: ...


NO_PAUSES = ("non_throttling_base_scale", 0.0)
"""Between the attempts of boto3's clients, in the tests' own process."""


def forget_client() -> None:
    """AWS's settings are others now: the process keeps no client made by the former ones."""
    s3._client.cache_clear()


_NUMBERS = itertools.count(1)
"""Of buckets, over all services: moto's are of the process, not of a server."""


class S3Service:
    """One for the test session; every test has a bucket of its own."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._one_by_one = threading.Lock()
        self.fault: Fault | None = None
        self.faults = 0
        self.conditional = True
        """Whether `If-None-Match` is obeyed; there are S3 services that ignore it."""
        self.authorization = ""
        """Of the last request."""

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
        """The variables by which AWS's tools find a service."""
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setitem(standard.ExponentialBackoff._DEFAULT_BACKOFF_CONFIG, *NO_PAUSES)
        for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(variable, os.devnull)
        forget_client()

    def new_bucket(self) -> str:
        name = f"bucket-{next(_NUMBERS)}"
        connection = HTTPConnection("127.0.0.1", self._server.server_port)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return name

    def fill(self, bucket: str, keys: Iterable[str]) -> None:
        """Empty objects, without a request for each."""
        for key in keys:
            s3_backends["123456789012"]["aws"].put_object(bucket, key, b"")

    def unfinished(self, bucket: str) -> list[str]:
        """The keys of uploads in parts that nobody has ended."""
        uploads = s3_backends["123456789012"]["aws"].list_multipart_uploads(bucket)
        return [upload.key_name for upload in uploads.values()]

    def fail(self, fault: Fault | None) -> None:
        self.fault, self.faults = fault, 0

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.authorization = environ.get("HTTP_AUTHORIZATION", "")
        fault = self.fault
        if fault and fault.method == environ["REQUEST_METHOD"] and self.faults < fault.times:
            self.faults += 1
            if fault.status:
                if "json" in environ.get("CONTENT_TYPE", ""):  # not S3
                    start(fault.status, [("Content-Type", environ["CONTENT_TYPE"])])
                    return [f'{{"__type": "{fault.code}"}}'.encode()]
                start(fault.status, [("Content-Type", "application/xml")])
                return [f"<Error><Code>{fault.code}</Code></Error>".encode()]
            answer = b"".join(self._serve(environ, start))
            return _broken_off(answer[: fault.sent_bytes], environ["werkzeug.socket"])
        return self._serve(environ, start)

    def _serve(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        answer: Iterable[bytes]
        if not self.conditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._one_by_one:  # S3 looks and writes in one step, moto in two
            answer = self._moto(environ, start)
        return answer


def _broken_off(sent: bytes, connection: socket.socket) -> Iterator[bytes]:
    if sent:
        yield sent
    connection.shutdown(socket.SHUT_RDWR)
