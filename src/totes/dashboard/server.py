"""Serving the pages: Streamlit in this process, told nothing that it would pass on."""

import socket
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from totes.dashboard.served import Served, serve
from totes.errors import UsageError

HOST, PORT = "127.0.0.1", 8501

APP = Path(__file__).parent / "pages" / "app.py"
"""Not beside a folder `pages`, which Streamlit would serve by rules of its own."""

BLUE, SKY = "#0072B2", "#56B4E9"

OPTIONS = {
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,  # nobody else learns that it runs, or of what
    "client.showErrorDetails": "none",  # a traceback is for the log
    "client.showErrorLinks": False,  # nor does a page ask others about it
    "client.showSidebarNavigation": False,
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "runner.magicEnabled": False,
    "runner.fastReruns": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
    "theme.light.primaryColor": BLUE,
    "theme.dark.primaryColor": SKY,
}


NOT_INSTALLED = (
    "The dashboard's packages are not installed: install requirements-dashboard.txt of the "
    "checkout with pip, as docs/running.md says."
)


def is_installed() -> bool:
    """Whether the dashboard's packages are here."""
    return all(find_spec(name) for name in ("streamlit", "altair", "pandas"))


def run(what: Served, host: str = HOST, port: int = PORT) -> None:
    """Serve the pages until Ctrl-C or SIGTERM."""
    from streamlit.web import bootstrap  # noqa: PLC0415  it takes a second

    serve(what)
    options = {**OPTIONS, "server.address": host, "server.port": port}
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flags)
    bootstrap.run(str(APP), is_hello=False, args=[], flag_options=flags)


def url(host: str, port: int) -> str:
    """What to open; an address that means every one is reached by this machine's own."""
    name = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104  # nosec B104
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def free_port(host: str = HOST, wanted: int = PORT) -> int:
    """The wanted port, or any that is free."""
    for port in (wanted, 0):
        try:
            with closing(_bound(host, port)) as found:
                return int(found.getsockname()[1])
        except OSError:
            continue
    raise UsageError(f"No port of {host} can be had.")


def refuse_taken(host: str, port: int) -> None:
    """UsageError where the address can't be had."""
    try:
        _bound(host, port).close()
    except OSError as error:
        raise UsageError(
            f"The dashboard can't listen at {host} port {port}: {error.strerror or error}. "
            "Choose another with --port, or --host."
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
