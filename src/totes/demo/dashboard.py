"""The demo's dashboard: a child process that ends with the demo."""

import os
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from urllib.error import URLError
from urllib.request import urlopen

from totes.config.settings import PREFIX, Settings
from totes.dashboard.server.web_server import HOST, PORT, free_port, url

STOP_SECONDS = 10

CHILD_MODULE = "totes.demo.child_process"
"""The module that runs `totes` as a child process that ends with its parent."""

POLL_SECONDS = 0.5


@contextmanager
def dashboard(settings: Settings, *, open_browser: bool) -> Iterator[str]:
    """Serve the dashboard of the demo's warehouse; yield its address.

    With `open_browser`, it is opened in a browser when it is ready, if there is a display. The
    server's output is appended to TOTES_HOME/dashboard.log.
    """
    port = free_port(HOST, PORT)
    address = url(HOST, port)
    command = [sys.executable, "-m", CHILD_MODULE, "dashboard", "--port", str(port)]
    environment = os.environ | {f"{PREFIX}HOME": str(settings.home)}
    with (settings.home / "dashboard.log").open("ab") as log:
        # In a new session, so that Ctrl-C interrupts only the demo.
        server = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    stopped = Event()
    if open_browser and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        Thread(target=_open_when_ready, args=[address, stopped], daemon=True).start()
    try:
        yield address
    finally:
        stopped.set()
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        finally:
            server.communicate()  # closes its input


def _open_when_ready(address: str, stopped: Event) -> None:
    while not stopped.wait(POLL_SECONDS):
        try:
            urlopen(f"{address}/_stcore/health", timeout=1).close()  # noqa: S310  # nosec B310
        except (URLError, OSError):
            continue
        webbrowser.open(address)
        return
