"""Streamlit's scripts are sent compressed, and all other requests reach Streamlit."""

import asyncio
from pathlib import Path

import httpx
import pytest
from httpx import ASGITransport, AsyncClient
from starlette.responses import PlainTextResponse
from streamlit.file_util import get_static_dir

from totes.dashboard.server.compression import CompressedFiles

SCRIPT = next(Path(get_static_dir()).glob("static/js/index.*.js"))


def get(path: str, encodings: str = "gzip, br") -> httpx.Response:
    app = CompressedFiles(PlainTextResponse("from Streamlit"))
    client = AsyncClient(transport=ASGITransport(app), base_url="http://totes.example")
    return asyncio.run(client.get(path, headers={"Accept-Encoding": encodings}))


def test_a_script_is_sent_compressed_and_can_be_cached() -> None:
    sent = get(f"/static/js/{SCRIPT.name}")
    assert sent.headers["content-encoding"] == "gzip"
    assert sent.headers["content-type"].split(";")[0].endswith("/javascript")
    assert int(sent.headers["content-length"]) < SCRIPT.stat().st_size / 2
    assert sent.content == SCRIPT.read_bytes()
    assert "immutable" in sent.headers["cache-control"]
    assert sent.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path", ["/", "/static/js/missing.js", "/static/js/../index.js", "/static/.env.js"]
)
def test_other_requests_reach_streamlit(path: str) -> None:
    assert get(path).text == "from Streamlit"


def test_a_client_without_gzip_gets_the_file_from_streamlit() -> None:
    assert get(f"/static/js/{SCRIPT.name}", "identity").text == "from Streamlit"
