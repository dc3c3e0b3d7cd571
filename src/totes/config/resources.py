"""Where everything is: what the settings name, and embedded servers for what they leave open."""

from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from totes.alert import Alarm
from totes.config.settings import PREFIX, Dsn, Settings, warn
from totes.engine import use_memory
from totes.errors import (
    SourceAway,
    SourceError,
    TotesError,
    UsageError,
    WarehouseAway,
    WarehouseError,
)
from totes.lake import Store, open_store
from totes.lake.manifest import RATES
from totes.rates import Rates, rates_at
from totes.source.catalogue import Scope
from totes.stages.runner import Pipeline
from totes.star.definition import TOTESYS, Star, load_star

if TYPE_CHECKING:
    from totes.embedded import servers


class Places:
    """Each place is opened when it is first asked for; use it with `with`.

    An embedded server lives while one of the processes that use it does. Unless `make`, one that
    was never made is an error: to look at something must not bring it into being.
    """

    def __init__(self, settings: Settings, *, make: bool = True) -> None:
        self.settings = settings
        use_memory(settings.memory)
        self._make = make
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @cached_property
    def source(self) -> Dsn:
        """Totesys, as the role that may only read it."""
        return self._named("source", SourceAway) or self._embedded_source.reader

    @cached_property
    def business(self) -> Dsn:
        """The embedded totesys, as the application that writes it."""
        if self.settings.source_dsn or self.settings.source_secret:
            raise UsageError(
                "TOTES_SOURCE_DSN is only ever read: name the totesys to write into with --into."
            )
        return self._embedded_source.owner

    @cached_property
    def warehouse(self) -> Dsn:
        """The warehouse, as the role that loads it."""
        return self._named("warehouse", WarehouseAway) or self._embedded_warehouse.loader

    @cached_property
    def analyst(self) -> Dsn:
        """The embedded warehouse, as a role that may only read it."""
        return self._embedded_warehouse.reader

    @cached_property
    def dashboard(self) -> Dsn:
        """The warehouse, as the dashboard's role that may only read it."""
        if self.settings.dashboard_dsn is not None:
            return self.settings.dashboard_dsn
        if self.settings.warehouse_dsn or self.settings.warehouse_secret:
            raise UsageError(
                "Set TOTES_DASHBOARD_DSN to a login of the warehouse that has the role "
                "totes_reader and no other: the dashboard never uses the loader's."
            )
        return self.analyst

    @cached_property
    def ingestion(self) -> Store:
        """The ingestion store."""
        return open_store(self.settings.ingestion)

    @cached_property
    def processed(self) -> Store:
        """The processed store."""
        return open_store(self.settings.processed)

    @property
    def scope(self) -> Scope:
        """Which tables of the source to ingest."""
        return Scope(self.settings.source_schema, self.settings.exclude_tables)

    @cached_property
    def star(self) -> Star:
        """The star to build; UsageError where its declaration is wrong."""
        folder = self.settings.star
        return TOTESYS if folder is None else load_star(folder)

    @property
    def rates(self) -> Rates | None:
        """Exchange rates, unless they are switched off or no model reads them."""
        wanted = self.settings.rates and RATES in self.star.models.tables
        return rates_at(self.settings.rates_url) if wanted else None

    @property
    def alarm(self) -> Alarm:
        """Whom to tell when something needs a person."""
        return Alarm(self.settings.alert_command, self.settings.alert_topic)

    @property
    def pipeline(self) -> Pipeline:
        """All of them."""
        return Pipeline(
            self.source,
            self.scope,
            self.ingestion,
            self.processed,
            self.warehouse,
            self.rates,
            self.star,
        )

    def _named(self, place: str, away: type[TotesError]) -> Dsn | None:
        """What the settings say: a DSN, with the parts that are in a secret."""
        dsn: Dsn | None = getattr(self.settings, f"{place}_dsn")
        secret: str | None = getattr(self.settings, f"{place}_secret")
        if secret is None:
            return dsn
        from totes.config.secrets import secret_dsn  # noqa: PLC0415  who has no secret needs no AWS

        setting = f"{PREFIX}{place.upper()}_SECRET"
        made = secret_dsn(secret, setting, dsn, away)
        warn(made, setting)
        return made

    @cached_property
    def _embedded_source(self) -> "servers.Source":
        from totes.embedded.servers import prepare_source, source_server  # noqa: PLC0415

        server = source_server(self.settings.home)
        return prepare_source(self._run(server, "totesys", "TOTES_SOURCE_DSN", SourceError))

    @cached_property
    def _embedded_warehouse(self) -> "servers.Warehouse":
        from totes.embedded.servers import prepare_warehouse, warehouse_server  # noqa: PLC0415

        server = warehouse_server(self.settings.home)
        dsn = self._run(server, "warehouse", "TOTES_WAREHOUSE_DSN", WarehouseError)
        return prepare_warehouse(dsn)

    def _run(
        self, server: "servers.EmbeddedServer", name: str, setting: str, error: type[TotesError]
    ) -> Dsn:
        from totes.embedded.servers import INSTALL, installed  # noqa: PLC0415

        if not installed():
            raise UsageError(
                f"{setting} is not set and no embedded PostgreSQL is installed: "
                f"set it, or {INSTALL}."
            )
        if not self._make and not server.made:
            raise error(
                f"There is no {name} in {self.settings.home} yet: begin with `totes demo`, or set "
                "TOTES_SOURCE_DSN and TOTES_WAREHOUSE_DSN and `totes run --once`."
            )
        return self._open.enter_context(server).dsn
