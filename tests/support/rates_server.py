"""A server of exchange rates, in place of the ECB's."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Respond = Callable[[http.server.BaseHTTPRequestHandler], object]


@dataclass
class RatesServer:
    """An HTTP server: `respond` writes the response, `requests` counts the requests."""

    url: str
    respond: Respond
    requests: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)


def respond_with(content: bytes, code: int = 200) -> Respond:
    def respond(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        to.send_header("Content-Length", str(len(content)))
        to.end_headers()
        to.wfile.write(content)

    return respond


@contextmanager
def serve_rates() -> Iterator[RatesServer]:
    """Start the server; it serves an empty file at first."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.requests += 1
            try:
                fake.respond(self)
            except ConnectionError:
                self.close_connection = True  # the client has closed the connection

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/hist.zip?1"
        fake = RatesServer(url, respond_with(b""))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        fake.stopped.set()
        server.shutdown()
        thread.join()
