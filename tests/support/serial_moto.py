"""moto's server, which handles one request at a time and repeats no request.

AWS checks and writes in one step, moto in two: two clients that create the same object at once
would both succeed. And a client that gets no response sends its request again under the same
invocation id, which AWS recognizes; moto would refuse to create or remove the same thing twice.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import cache
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

KEPT_RESPONSES = 1_000
"""A client repeats its request within a second."""

Response = tuple[str, list[tuple[str, str]], bytes]


class Dispatcher(DomainDispatcherApplication):  # type: ignore[misc]  # mypy does not read moto
    """moto's application, which finds the service of a host name once, not for each request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self.get_backend_for_host = cache(super().get_backend_for_host)


class SerialApplication:
    """A WSGI application in front of another one."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._responses: OrderedDict[str, Response] = OrderedDict()
        """By invocation id."""

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
        with self._lock:
            response = self._responses.get(invocation)
            if response is None:
                response = self._forward(environ)
                writes = environ["REQUEST_METHOD"] != "GET"
                if invocation and writes and response[0].startswith("2"):
                    self._responses[invocation] = response
                if len(self._responses) > KEPT_RESPONSES:
                    self._responses.popitem(last=False)
        status, headers, body = response
        start(status, headers)
        return [body]

    def _forward(self, environ: WSGIEnvironment) -> Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(
            status: str, headers: list[tuple[str, str]], _: object = None
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return lambda _: None

        body = b"".join(self._inner(environ, start))
        [(status, headers)] = started
        return status, headers, body


class _Handler(MotoRequestHandler):  # type: ignore[misc]  # mypy does not read moto
    def log(self, type: str, message: str, *arguments: object) -> None:  # noqa: A002
        if type == "error":
            super().log(type, message, *arguments)


def serve() -> None:
    """Print the address, and serve until the process is killed."""
    application = SerialApplication(Dispatcher())
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Handler)
    os.environ["MOTO_PORT"] = str(server.server_port)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201  its parent reads it
    server.serve_forever()


if __name__ == "__main__":
    serve()
