"""The web server of the pages: Streamlit in this process, without telemetry."""

import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

from totes.config.dsn import is_loopback
from totes.dashboard.preferences import Preferences, set_preferences
from totes.dashboard.server.backends import Backends, set_backends
from totes.errors import UsageError

HOST, PORT = "127.0.0.1", 8501

APP = Path(__file__).parents[1] / "pages" / "app.py"
"""In the folder `pages` itself: Streamlit serves a folder `pages` beside the script differently."""

OPTIONS = {
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # tracebacks are in the log only
    "client.showErrorLinks": False,  # to search engines
    "client.showSidebarNavigation": False,
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "runner.magicEnabled": False,
    "runner.fastReruns": True,
    "secrets.files": [],  # secrets come from our settings only
    "server.enableAgentApi": False,  # it has no sign-in
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
}


def run(backends: Backends, preferences: Preferences, host: str = HOST, port: int = PORT) -> None:
    """Serve the pages until Ctrl-C or SIGTERM."""
    import streamlit as st  # noqa: PLC0415  it takes a second
    from starlette.middleware import Middleware  # noqa: PLC0415

    from totes.dashboard.charts.colours import accent  # noqa: PLC0415
    from totes.dashboard.server.compression import CompressedFiles  # noqa: PLC0415
    from totes.dashboard.server.middleware import DashboardMiddleware  # noqa: PLC0415

    set_backends(backends)
    set_preferences(preferences)
    sign_in = preferences.sign_in
    middleware = Middleware(
        DashboardMiddleware,
        embedders=preferences.embedders,
        secure=sign_in is not None and sign_in.url.startswith("https:"),
    )
    app = st.App(
        APP,
        middleware=[middleware, Middleware(CompressedFiles)],
        secrets={"auth": {**sign_in.provider}} if sign_in else None,
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it has ended
        signal.signal(number, lambda *_: sys.exit())
    theme = {
        "theme.light.primaryColor": accent(dark=False),
        "theme.dark.primaryColor": accent(dark=True),
    }
    app.run(config={**OPTIONS, **theme, "server.address": host, "server.port": port})


def refuse_without_sign_in(host: str) -> None:
    """Raise UsageError if other machines can reach an address."""
    if not is_loopback(host):
        raise UsageError(
            f"Other machines can reach the dashboard at {host}, and sign-in is not configured: set "
            "TOTES_DASHBOARD_OIDC_URL and the other settings of sign-in, or add --without-sign-in "
            "or --viewers-only if users reach it only through a proxy that authenticates them."
        )


def url(host: str, port: int) -> str:
    """Return the URL to open; 127.0.0.1 if the server listens at all addresses."""
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  # nosec B104
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def free_port(host: str = HOST, wanted: int = PORT) -> int:
    """Return the wanted port if it is free, else another; UsageError if there is none."""
    for port in (wanted, 0):
        try:
            with closing(_bound(host, port)) as found:
                return int(found.getsockname()[1])
        except OSError:
            continue
    raise UsageError(f"There is no free port at {host}. Choose another address with --host.")


def check_address(host: str, port: int) -> None:
    """Raise UsageError if the server can't listen at the address."""
    try:
        _bound(host, port).close()
    except OSError as error:
        raise UsageError(
            f"The dashboard can't listen at {host} port {port}: {error.strerror or error}. "
            "Choose another address with --port or --host."
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
