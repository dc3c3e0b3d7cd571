"""Send Streamlit's scripts and styles compressed: browsers load 5 MB of them at the first visit."""

import gzip
import mimetypes
import re
from functools import cache
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.file_util import get_static_dir

_FILE = re.compile(r"/(static/(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.(?:js|css))", re.ASCII)

HEADERS = {
    "Cache-Control": "public, immutable, max-age=31536000",  # the names contain a hash
    "Content-Encoding": "gzip",
    "Vary": "Accept-Encoding",
}


class CompressedFiles:
    """ASGI middleware that answers requests for scripts and styles; each is compressed once.

    Streamlit itself sends them uncompressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a file, or pass it on."""
        if scope["type"] == "http" and (found := _FILE.fullmatch(scope["path"])):
            request = Request(scope)
            accepts = "gzip" in request.headers.get("accept-encoding", "")
            body = await run_in_threadpool(_compressed, found[1]) if accepts else None
            if request.method == "GET" and body is not None:
                kind, _ = mimetypes.guess_type(found[1])
                await Response(body, headers=HEADERS, media_type=kind)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _compressed(name: str) -> bytes | None:
    """Return a file compressed; None if there is none."""
    file = Path(get_static_dir(), name)
    return _compressed_file(file) if file.is_file() else None


@cache
def _compressed_file(file: Path) -> bytes:
    return gzip.compress(file.read_bytes())
