"""moto's server, made to do each thing once: one request at a time, and a repeated one not again.

AWS looks and writes in one step, moto in two: two that create the same object at once would both
succeed. And where an answer is lost on its way, clients ask again under the same number, which AWS
knows; moto would refuse to create or remove what it has just created or removed.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

KEPT = 1_000
"""Answers; the client that lacks one asks again within a second."""

Answer = tuple[str, list[tuple[str, str]], bytes]


class OneByOne:
    """A WSGI application in front of another."""

    def __init__(self, behind: WSGIApplication) -> None:
        self._behind = behind
        self._alone = threading.Lock()
        self._given: OrderedDict[str, Answer] = OrderedDict()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        number = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
        with self._alone:
            answer = self._given.get(number)
            if answer is None:
                answer = self._ask(environ)
                if number and environ["REQUEST_METHOD"] != "GET" and answer[0].startswith("2"):
                    self._given[number] = answer
                if len(self._given) > KEPT:
                    self._given.popitem(last=False)
        status, headers, body = answer
        start(status, headers)
        return [body]

    def _ask(self, environ: WSGIEnvironment) -> Answer:
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def start(
            status: str, headers: list[tuple[str, str]], _: object = None
        ) -> Callable[[bytes], object]:
            begun.append((status, headers))
            return lambda _: None

        body = b"".join(self._behind(environ, start))
        [(status, headers)] = begun
        return status, headers, body


class _Handler(MotoRequestHandler):
    def log(self, type: str, message: str, *arguments: object) -> None:  # noqa: A002
        if type == "error":
            super().log(type, message, *arguments)


def serve() -> None:
    """Say the address, and serve until killed."""
    moto = OneByOne(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, moto, threaded=True, request_handler=_Handler)
    os.environ["MOTO_PORT"] = str(server.server_port)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
