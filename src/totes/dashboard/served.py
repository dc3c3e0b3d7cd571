"""What the pages are served from: told once by who starts the server, asked for by every page."""

from dataclasses import dataclass

from totes.config.settings import Dsn
from totes.lake import Store


@dataclass(frozen=True)
class Served:
    """The warehouse, as a role that may only read, and the lake's log for changes of the schema."""

    warehouse: Dsn
    ingestion: Store | None = None


_now: list[Served] = []


def serve(what: Served) -> None:
    """From now on, in this process."""
    _now[:] = [what]


def served() -> Served:
    """What was told; the web server runs the pages in the process that started it."""
    return _now[0]
