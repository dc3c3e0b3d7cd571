"""The replica and the ingestion store that the pages read, set when the server starts."""

from dataclasses import dataclass
from functools import cached_property

from totes.config.dsn import Dsn
from totes.dashboard.config_file import Goal
from totes.dashboard.explore.sandbox import Sandbox
from totes.dashboard.explore.saved import SavedViews
from totes.dashboard.replica import Replica
from totes.lake import Store


@dataclass(frozen=True)
class Backends:
    """The replica of the warehouse, the lake for schema changes, saved views, and goals."""

    replica: Replica
    ingestion: Store | None = None
    saved_views: SavedViews | None = None
    goals: tuple[Goal, ...] = ()

    @property
    def warehouse(self) -> Dsn:
        """The warehouse, with a read-only role."""
        return self.replica.warehouse

    @cached_property
    def sandbox(self) -> Sandbox:
        """Runs statements of users."""
        return Sandbox(self.replica)


_backends: list[Backends] = []


def set_backends(backends: Backends) -> None:
    """Use these backends for all pages of this process."""
    _backends[:] = [backends]


def backends() -> Backends:
    """Return what `set_backends` was called with; the web server runs pages in the same process."""
    return _backends[0]
