"""The dashboard's server: telemetry, its role, its port and its end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from dashboard_page import SECONDS
from sample_business import (
    SampleBusiness,
)

from totes.dashboard.server import OPTIONS, url


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
