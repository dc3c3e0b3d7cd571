"""The databases and stores that the settings name; embedded servers where they name none."""

from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from totes.alert import AlertTargets
from totes.config.dsn import Dsn, warn_without_tls
from totes.config.settings import PREFIX, Settings
from totes.duckdb_engine import set_memory_limit
from totes.errors import (
    SourceError,
    SourceUnavailable,
    TotesError,
    UsageError,
    WarehouseError,
    WarehouseUnavailable,
)
from totes.lake import Store, open_store
from totes.lake.manifest import RATES
from totes.rates import RateFeed, rate_feed
from totes.source.catalogue import CaptureScope
from totes.source.log.reader import LogReader
from totes.stages.publish import BatchPublisher
from totes.stages.runner import Pipeline
from totes.star.folder import TOTESYS, Star, load_star

if TYPE_CHECKING:
    from totes.embedded import servers
    from totes.lakehouse.catalogue import Lakehouse


class Resources:
    """Databases, stores and options of the settings; each is opened at first use.

    A context manager: leaving it releases the embedded servers. An embedded server runs until the
    last process that uses it ends. With `create=False`, an embedded server that was never
    initialised raises SourceError or WarehouseError: read-only commands must not create a database.
    """

    def __init__(self, settings: Settings, *, create: bool = True) -> None:
        self.settings = settings
        set_memory_limit(settings.memory)
        self._create = create
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @cached_property
    def source(self) -> Dsn:
        """The source database, with a role that can only read it."""
        return self._configured_dsn("source", SourceUnavailable) or self._embedded_source.reader

    @cached_property
    def source_owner(self) -> Dsn:
        """The embedded source, with a role that can write; UsageError if it is not embedded."""
        if self.settings.source_dsn or self.settings.source_secret:
            raise UsageError(
                "The platform only reads the database of TOTES_SOURCE_DSN: name the database to "
                "write to with --into."
            )
        return self._embedded_source.owner

    @cached_property
    def warehouse(self) -> Dsn:
        """The warehouse, with the role that loads it."""
        return (
            self._configured_dsn("warehouse", WarehouseUnavailable)
            or self._embedded_warehouse.loader
        )

    @cached_property
    def warehouse_reader(self) -> Dsn:
        """The embedded warehouse, with a role that can only read it."""
        return self._embedded_warehouse.reader

    @cached_property
    def dashboard(self) -> Dsn:
        """The warehouse, with the dashboard's read-only role; UsageError where none is set."""
        if configured := self._configured_dsn("dashboard", WarehouseUnavailable):
            return configured
        if self.settings.warehouse_dsn or self.settings.warehouse_secret:
            raise UsageError(
                "TOTES_DASHBOARD_DSN is not set: set it, or TOTES_DASHBOARD_SECRET, to a login of "
                "the warehouse that has only the role totes_reader. The dashboard does not use the "
                "loader's login."
            )
        return self.warehouse_reader

    @cached_property
    def ingestion(self) -> Store:
        """The ingestion store."""
        return open_store(self.settings.ingestion)

    @cached_property
    def processed(self) -> Store:
        """The processed store."""
        return open_store(self.settings.processed)

    @property
    def scope(self) -> CaptureScope:
        """Which tables of the source to ingest."""
        settings = self.settings
        return CaptureScope(settings.source_schema, settings.exclude_tables, settings.connections)

    @cached_property
    def star(self) -> Star:
        """The star to build; UsageError where its declaration is invalid."""
        folder = self.settings.star
        return TOTESYS if folder is None else load_star(folder)

    @property
    def rates(self) -> RateFeed | None:
        """The exchange rates; None if they are switched off or no model reads them."""
        is_needed = self.settings.rates and RATES in self.star.models.tables
        return rate_feed(self.settings.rates_url) if is_needed else None

    @cached_property
    def log_reader(self) -> LogReader | None:
        """The source's write-ahead log; None if tables are scanned."""
        if self.settings.capture == "scan":
            return None
        reader = LogReader(self.source, self.settings.log_slot, self.settings.log_publication)
        self._opened.callback(reader.close)
        return reader

    @cached_property
    def lakehouse(self) -> "Lakehouse | None":
        """Where the Iceberg tables are; None if they are not published.

        Raises UsageError if pyiceberg is not installed.
        """
        if self.settings.iceberg_catalog is None:
            return None
        try:
            import pyiceberg  # noqa: F401, PLC0415  an optional package, slow to import
        except ImportError as error:
            raise UsageError(
                "TOTES_ICEBERG_CATALOG is set, but pyiceberg is not installed: install "
                "terrific-totes[iceberg], or unset it."
            ) from error
        from totes.lakehouse.catalogue import Lakehouse  # noqa: PLC0415

        return Lakehouse(self.settings.iceberg_catalog, self.settings.iceberg)

    @cached_property
    def publisher(self) -> BatchPublisher | None:
        """What publishes batches as Iceberg tables; None if nothing does."""
        if self.lakehouse is None:
            return None
        from totes.lakehouse.publish import Publisher  # noqa: PLC0415

        return Publisher(self.lakehouse, self.star)

    @property
    def alert_targets(self) -> AlertTargets:
        """Where alerts are sent."""
        return AlertTargets(self.settings.alert_command, self.settings.alert_topic)

    @property
    def pipeline(self) -> Pipeline:
        """All databases and stores that the stages use, opened."""
        return Pipeline(
            self.source,
            self.scope,
            self.ingestion,
            self.processed,
            self.warehouse,
            self.rates,
            self.star,
            self.log_reader,
            self.publisher,
        )

    def _configured_dsn(self, database: str, unavailable: type[TotesError]) -> Dsn | None:
        """Return the DSN from the settings and the secret; None if neither is set."""
        dsn: Dsn | None = getattr(self.settings, f"{database}_dsn")
        secret: str | None = getattr(self.settings, f"{database}_secret")
        if secret is None:
            return dsn
        from totes.config.secrets import read_secret_dsn  # noqa: PLC0415  AWS is optional

        setting = f"{PREFIX}{database.upper()}_SECRET"
        secret_dsn = read_secret_dsn(secret, setting, dsn, unavailable)
        warn_without_tls(secret_dsn, setting)
        return secret_dsn

    @cached_property
    def _embedded_source(self) -> "servers.Source":
        from totes.embedded.servers import (  # noqa: PLC0415
            permit_log,
            prepare_source,
            source_server,
        )

        server = source_server(self.settings.home)
        source = prepare_source(self._start(server, "totesys", "TOTES_SOURCE_DSN", SourceError))
        if self.settings.capture == "log":
            permit_log(source, self.settings.log_publication)
        return source

    @cached_property
    def _embedded_warehouse(self) -> "servers.Warehouse":
        from totes.embedded.servers import prepare_warehouse, warehouse_server  # noqa: PLC0415

        server = warehouse_server(self.settings.home)
        dsn = self._start(server, "warehouse", "TOTES_WAREHOUSE_DSN", WarehouseError)
        return prepare_warehouse(dsn)

    def _start(
        self, server: "servers.EmbeddedServer", name: str, setting: str, error: type[TotesError]
    ) -> Dsn:
        from totes.embedded.servers import INSTALL, is_installed  # noqa: PLC0415

        if not is_installed():
            raise UsageError(
                f"{setting} is not set and no embedded PostgreSQL is installed: "
                f"set it, or {INSTALL}."
            )
        if not self._create and not server.exists:
            raise error(
                f"There is no database {name} in {self.settings.home} yet: run `totes demo`, or "
                "set TOTES_SOURCE_DSN and TOTES_WAREHOUSE_DSN and run `totes run --once`."
            )
        return self._opened.enter_context(server).dsn
