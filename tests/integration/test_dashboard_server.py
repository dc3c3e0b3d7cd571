"""The dashboard's server: telemetry, its role, its port and its end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from dashboard_page import SECONDS
from dashboard_window import wait_for_server
from sample_business import (
    SampleBusiness,
)

from totes.dashboard.server import web_server
from totes.dashboard.server.web_server import OPTIONS, free_port, url


def test_the_dashboard_has_no_telemetry() -> None:
    assert OPTIONS["browser.gatherUsageStats"] is False
    assert OPTIONS["server.fileWatcherType"] == "none"
    assert OPTIONS["client.showErrorDetails"] == "none"
    assert OPTIONS["client.showErrorLinks"] is False


def test_a_role_that_may_write_and_a_used_port_are_rejected(
    business: SampleBusiness,
) -> None:
    installation = business.installation
    writer = installation.with_settings(dashboard_dsn=installation.warehouse.reveal()).totes(
        "dashboard"
    )
    assert writer.exit_code == 2
    assert "may create schemas in database" in writer.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        reader = installation.with_settings(dashboard_dsn=business.reader.reveal())
        refused = reader.totes("dashboard", "--port", port)
    assert refused.exit_code == 2
    assert "Choose another address with --port" in refused.stderr


def test_the_url_can_be_opened_by_a_browser() -> None:
    assert url("::", 8501) == "http://127.0.0.1:8501"
    assert url("::1", 1) == "http://[::1]:1"


@pytest.mark.parametrize("option", ["--without-sign-in", "--viewers-only"])
def test_views_are_saved_only_where_somebody_may_delete_them(
    business: SampleBusiness, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(web_server, "run", lambda backends, *_: started.append(backends))
    settings = business.installation.with_settings(dashboard_dsn=business.reader.reveal())
    assert settings.totes("dashboard", "--port", str(free_port(wanted=0)), option).exit_code == 0
    assert [one.saved_views is None for one in started] == [option == "--viewers-only"]


WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDAwMDAwMDAwMDAwMDAwMA==",
    "Sec-WebSocket-Protocol": "streamlit",
}


def test_a_load_balancer_reaches_the_health_check_and_forwards_websockets(
    business: SampleBusiness, tmp_path: Path
) -> None:
    """Its health check names the task's address as host; requests of users have their own."""
    port, log = free_port(wanted=0), tmp_path / "log"
    settings = business.installation.with_settings(
        dashboard_dsn=business.reader.reveal(), home=str(tmp_path / "home")
    )

    def status(path: str, **headers: Any) -> int:
        connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        connection.request("GET", path, headers=headers)
        found = connection.getresponse().status
        connection.close()
        return found

    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "totes", "dashboard", "--viewers-only", "--port", str(port)],
            env=os.environ | settings.environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for_server(f"http://127.0.0.1:{port}", process, log)
        assert status("/_stcore/health", Host="10.84.0.9:8501") == 200
        for origin, code in (("https://totes.example", 101), ("https://other.example", 403)):
            forwarded = {"Host": "totes.example", "Origin": origin, "X-Forwarded-Proto": "https"}
            assert status("/_stcore/stream", **forwarded, **WEBSOCKET) == code
    finally:
        process.terminate()  # as Fargate
        assert process.wait(60) == 0, log.read_text()


KILLED = """
import sys, time
from pathlib import Path
from totes.config.settings import Settings
from totes.demo.dashboard import dashboard
with dashboard(Settings(home=Path(sys.argv[1])), open_browser=False) as address:
    print(address, flush=True)
    time.sleep(600)
"""
"""The part of `totes demo` that serves the dashboard."""


def test_the_demos_dashboard_ends_even_if_the_demo_is_killed(
    business: SampleBusiness, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env=os.environ | business.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        address = demo.stdout.readline().strip()
        log = tmp_path / "dashboard.log"
        wait_until(lambda: answers(address), log)
        demo.kill()
    wait_until(lambda: not answers(address), log)


def answers(address: str) -> bool:
    try:
        urlopen(f"{address}/_stcore/health", timeout=SECONDS).close()  # noqa: S310  http
    except OSError:
        return False
    return True


def wait_until(what: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
