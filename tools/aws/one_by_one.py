"""moto's server, one request at a time: AWS looks and writes in one step, moto in two.

Two that create the same object at once, or take two rules out of one security group, would else
both succeed, or one would lose the other's. Prints its address once it listens.
"""

import os
import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server


class _Handler(MotoRequestHandler):
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *arguments: object) -> None:  # noqa: A002
        if type == "error":
            super().log(type, message, *arguments)


def serve() -> None:
    """Until it is killed."""
    moto = DomainDispatcherApplication(create_backend_app)
    alone = threading.Lock()

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        with alone:
            answered: Iterable[bytes] = moto(environ, start)
        return answered

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=_Handler)
    os.environ["MOTO_PORT"] = str(server.server_port)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve()
