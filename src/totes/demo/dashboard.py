"""The dashboard beside the demonstration: a process of its own, gone with the demonstration."""

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
from totes.dashboard.server import HOST, PORT, free_port, url

STOP_SECONDS = 10

BESIDE = "totes.demo.beside"
"""`totes`, ending with whoever holds the other end of its input: also where that was killed."""

LOOK_EVERY_SECONDS = 0.5


@contextmanager
def dashboard(settings: Settings, *, look: bool) -> Iterator[str]:
    """Serves the pages of the demonstration's warehouse; yields their address.

    With `look` they are opened in a browser as soon as they are there, where there is a screen.
    What the server says goes into TOTES_HOME/dashboard.log.
    """
    port = free_port(HOST, PORT)
    address = url(HOST, port)
    command = [sys.executable, "-m", BESIDE, "dashboard", "--port", str(port)]
    environment = os.environ | {f"{PREFIX}HOME": str(settings.home)}
    with (settings.home / "dashboard.log").open("ab") as log:
        # A session of its own, so that Ctrl-C reaches the demonstration alone.
        server = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    over = Event()
    if look and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        Thread(target=_open, args=[address, over], daemon=True).start()
    try:
        yield address
    finally:
        over.set()
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        finally:
            server.communicate()  # nothing to say: its input is closed


def _open(address: str, over: Event) -> None:
    while not over.wait(LOOK_EVERY_SECONDS):
        try:
            urlopen(f"{address}/_stcore/health", timeout=1).close()  # noqa: S310  # nosec B310
        except (URLError, OSError):
            continue
        webbrowser.open(address)
        return
