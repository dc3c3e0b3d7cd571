"""Fixtures: one PostgreSQL server for each worker, fresh databases for each test."""

import gc
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import depth
import hypothesis
import longest_tests
import psycopg
import pytest
from database import copy_database, drop_database
from installation import Installation
from log_source import LOG_SETTINGS, LogSource, open_log_source
from psycopg import sql
from scratch_source import GRANTS, ScratchSource, create_scratch_source
from temporary_servers import copy_to_standby, older_server

from totes import error_policy
from totes.config.dsn import Dsn
from totes.dashboard.preferences import Preferences, set_preferences
from totes.embedded.servers import (
    EmbeddedServer,
    Source,
    Warehouse,
    prepare_source,
    prepare_warehouse,
)
from totes.warehouse.schema import migrate

if TYPE_CHECKING:
    from image_tree import ImageTree
    from in_process_handlers import Handlers
    from planned_permissions import PlannedPermissions
    from pyspark.sql import SparkSession
    from s3_service import S3Service
    from sample_business import SampleBusiness
    from terraform_plan import Planned
    from xdist.remote import Producer

pytest_plugins = ("aws_fixtures", "dashboard_browser", "skipped_tests", "stage_fixtures")

hypothesis.settings.register_profile(
    "totes",
    deadline=None,
    print_blob=True,
    derandomize=False,  # with CI set, Hypothesis would draw the same examples in each run
)
hypothesis.settings.load_profile("totes")

THROW_AWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
"""Settings of servers whose data need not survive a crash."""

EMBEDDED = {**THROW_AWAY, "io_method": "sync"}
"""The same for PostgreSQL 18: other processes that read for a backend take more processor time."""


@dataclass(frozen=True)
class Totesys:
    """A fresh totesys: `admin` is the superuser's DSN, `owner` the application's, `dsn` ours."""

    admin: Dsn
    owner: Dsn
    dsn: Dsn


Fresh = Callable[[], AbstractContextManager[Totesys]]


@dataclass(frozen=True)
class EmptyWarehouse:
    """A fresh warehouse: `admin` is the superuser's DSN, `dsn` the loader's."""

    admin: Dsn
    dsn: Dsn
    reader: Dsn


class ClusterFactory(Protocol):
    """Starts a temporary server with `settings` of its own.

    With `standby_of`, a hot standby of that server. The server may be stopped and started again
    with its own `stop` and `start`; the test's end removes it.
    """

    def __call__(
        self, *, standby_of: EmbeddedServer | None = None, **settings: str
    ) -> EmbeddedServer: ...


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let Hypothesis draw its examples by the run's seed."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = depth.SEED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the run's seed, and the properties that tests of all workers have recorded."""
    terminalreporter.write_line(f"To draw the same cases again: TEST_SEED={depth.SEED}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draw the cases of tests marked `few`; spread the longest tests over the workers."""
    if left_out := depth.draw_marked(items):
        config.hook.pytest_deselected(items=left_out)
    longest_tests.spread_longest(items)
    for item in items:
        if "tests/spark/" in item.nodeid:  # pyspark leaves sockets to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> object:
    """Keep the tests of a group on one worker."""
    from one_worker import GroupsOnOneWorker  # noqa: PLC0415  without xdist it can't be imported

    return GroupsOnOneWorker(config, log) if config.getvalue("dist") == "worksteal" else None


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Restore `__main__`, which Streamlit's tests replace and child processes would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def default_preferences() -> Iterator[None]:
    """Restore the preferences of the dashboard, which are those of the process."""
    yield
    set_preferences(Preferences())


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process retry without pauses."""
    monkeypatch.setattr(error_policy, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(error_policy, "MAX_PAUSE_SECONDS", 0.0)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder with a short path (for sockets) that the system user `nobody` can traverse."""
    with tempfile.TemporaryDirectory(prefix="totes-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[EmbeddedServer]:
    """One PostgreSQL for the test session; `server.dsn` is the superuser's."""
    with EmbeddedServer(scratch / "server", EMBEDDED) as running:
        yield running


@pytest.fixture(scope="session")
def older(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server older than the embedded ones: PostgreSQL 15 on Debian 12."""
    with older_server(scratch / "older", THROW_AWAY) as running:
        yield running


@pytest.fixture(scope="session")
def log_server(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server whose write-ahead log can be read."""
    with EmbeddedServer(scratch / "log", {**EMBEDDED, **LOG_SETTINGS}) as running:
        yield running


@pytest.fixture(scope="session")
def older_log_server(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server as `older` whose write-ahead log can be read."""
    with older_server(scratch / "older-log", {**THROW_AWAY, **LOG_SETTINGS}) as running:
        yield running


@pytest.fixture(scope="session")
def service() -> Iterator["S3Service"]:
    """S3 and other AWS services; each test creates its own bucket."""
    from s3_service import S3Service  # noqa: PLC0415  importing moto takes a second

    with S3Service() as running:
        yield running


@pytest.fixture(scope="session")
def spark_processes() -> Iterator[None]:
    """Spark's processes end with the tests."""
    from spark_session import stop_spark  # noqa: PLC0415  slow to import

    yield
    stop_spark()


@pytest.fixture
def spark(spark_processes: None) -> Iterator["SparkSession"]:  # noqa: ARG001
    """The worker's Spark; only tests below tests/spark, which run on one worker, may use it."""
    from spark_session import start_spark  # noqa: PLC0415  slow to import

    from totes.spark.session import pin  # noqa: PLC0415  as above

    session = start_spark()
    pin(session)  # the commands open sessions of their own, which don't inherit this
    yield session
    gc.collect()  # closes sockets while that is no error


@pytest.fixture(scope="session")
def image_tree(scratch: Path) -> "ImageTree":
    """The file tree of the container image."""
    from image_tree import build_image_tree  # noqa: PLC0415  needed by a few workers only

    return build_image_tree(scratch / "image")


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> "Planned":
    """What Terraform would create in an account, with every option."""
    from terraform_cli import (  # noqa: PLC0415
        MissingToolError,
        find_provider,
        provider_version,
        terraform_program,
    )
    from terraform_plan import plan_everything  # noqa: PLC0415  importing boto3 takes long

    try:
        terraform_program()
        find_provider(provider_version())
    except MissingToolError as missing:
        pytest.skip(str(missing))
    return plan_everything(tmp_path_factory.mktemp("planned"))


@pytest.fixture(scope="session")
def permissions(planned: "Planned") -> "PlannedPermissions":
    """Who may do what in that account."""
    from planned_permissions import PlannedPermissions  # noqa: PLC0415  as above

    return PlannedPermissions(planned)


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count(1))


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> Source:
    """The template of every test's totesys; no connection to it may stay open."""
    return prepare_source(server.dsn, "totesys_template")


@pytest.fixture(scope="session")
def fresh(server: EmbeddedServer, template: Source, database_names: Iterator[str]) -> Fresh:
    """A function that creates an empty totesys until the end of a `with` block."""

    @contextmanager
    def make() -> Iterator[Totesys]:
        name = next(database_names)
        copy_database(server.dsn, name, template.owner, reader="totes_ingest")
        admin, owner, reader = (
            dsn.replace(dbname=name)
            for dsn in (template.superuser, template.owner, template.reader)
        )
        try:
            yield Totesys(admin=admin, owner=owner, dsn=reader)
        finally:
            drop_database(server.dsn, name)

    return make


@pytest.fixture
def totesys(fresh: Fresh) -> Iterator[Totesys]:
    """A totesys without rows."""
    with fresh() as made:
        yield made


@pytest.fixture
def scratch_source(totesys: Totesys, tmp_path: Path) -> ScratchSource:
    """An empty schema in a totesys, in which a test creates its tables."""
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute(GRANTS)
    return ScratchSource(totesys.owner, totesys.dsn, tmp_path / "lake")


@pytest.fixture(params=["embedded", "older"])
def any_scratch_source(
    request: pytest.FixtureRequest, database_names: Iterator[str], tmp_path: Path
) -> Iterator[ScratchSource]:
    """A scratch source on the embedded PostgreSQL and on an older one."""
    server = request.getfixturevalue({"embedded": "server"}.get(request.param, request.param))
    name = next(database_names)
    yield create_scratch_source(server, tmp_path, name)
    drop_database(server.dsn, name)


@pytest.fixture
def log_source(
    log_server: EmbeddedServer, database_names: Iterator[str], tmp_path: Path
) -> Iterator[LogSource]:
    """A source without tables, whose write-ahead log can be read."""
    with open_log_source(log_server, next(database_names), tmp_path) as made:
        yield made


@pytest.fixture(params=["log_server", "older_log_server"], ids=["embedded", "older"])
def any_log_source(
    request: pytest.FixtureRequest, database_names: Iterator[str], tmp_path: Path
) -> Iterator[LogSource]:
    """A `log_source` on the embedded PostgreSQL and on an older one."""
    server = request.getfixturevalue(request.param)
    with open_log_source(server, next(database_names), tmp_path) as made:
        yield made


@pytest.fixture(params=["log_server", "older_log_server"], ids=["embedded", "older"])
def logged_source(
    request: pytest.FixtureRequest, database_names: Iterator[str], tmp_path: Path
) -> Iterator[ScratchSource]:
    """A scratch source whose log the platform may read, on a new and an older server.

    The end of the test drops the slots of its database.
    """
    server = request.getfixturevalue(request.param)
    name = next(database_names)
    source = create_scratch_source(server, tmp_path, name)
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        connection.execute("ALTER ROLE totes_ingest REPLICATION")
        yield source
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s",
            [name],
        )
    drop_database(server.dsn, name)


@pytest.fixture(scope="session")
def migrated(server: EmbeddedServer) -> Warehouse:
    """The template of every test's warehouse, as creating its tables takes long."""
    prepared = prepare_warehouse(server.dsn, "warehouse_template")
    migrate(prepared.loader)
    return prepared


@pytest.fixture(scope="session")
def unmigrated(server: EmbeddedServer) -> Warehouse:
    """The template of the warehouses without tables."""
    return prepare_warehouse(server.dsn, "bare_template")


@pytest.fixture
def warehouse(
    request: pytest.FixtureRequest, server: EmbeddedServer, database_names: Iterator[str]
) -> Iterator[EmptyWarehouse]:
    """A fresh warehouse without rows; for tests with the marker `bare`, without tables."""
    name = next(database_names)
    bare = request.node.get_closest_marker("bare")
    template: Warehouse = request.getfixturevalue("unmigrated" if bare else "migrated")
    copy_database(server.dsn, name, template.loader, reader="totes_reader")
    admin, loader, reader = (
        dsn.replace(dbname=name) for dsn in (template.superuser, template.loader, template.reader)
    )
    yield EmptyWarehouse(admin=admin, dsn=loader, reader=reader)
    drop_database(server.dsn, name)


@pytest.fixture
def copied(server: EmbeddedServer, database_names: Iterator[str]) -> Iterator[Callable[[Dsn], Dsn]]:
    """A function that copies the warehouse of a DSN, which must have no connections."""
    names = []

    def copy(dsn: Dsn) -> Dsn:
        names.append(next(database_names))
        with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER totes_loader TEMPLATE {}").format(
                    sql.Identifier(names[-1]), sql.Identifier(str(dsn.parts["dbname"]))
                )
            )
        return dsn.replace(dbname=names[-1])

    yield copy
    for name in names:
        drop_database(server.dsn, name)


@pytest.fixture
def installation(totesys: Totesys, warehouse: EmptyWarehouse, tmp_path: Path) -> Installation:
    """A platform between a totesys and a warehouse without rows."""
    return Installation(totesys.owner, totesys.dsn, warehouse.dsn, tmp_path)


@pytest.fixture
def cloud(
    request: pytest.FixtureRequest, installation: Installation, service: "S3Service"
) -> Iterator["Handlers"]:
    """The handlers of the functions, with AWS simulated by moto."""
    from in_process_handlers import opened_handlers  # noqa: PLC0415  importing boto3 takes long

    with opened_handlers(installation, service, request.getfixturevalue) as opened:
        yield opened


@pytest.fixture(scope="session")
def business(
    server: EmbeddedServer, template: Source, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["SampleBusiness"]:
    """The business on the pages of the dashboard, one for each worker."""
    from sample_business import sample_business  # noqa: PLC0415  needed by a few workers only

    with sample_business(server, template, "pages", tmp_path_factory.mktemp("pages")) as made:
        yield made


@pytest.fixture
def home(scratch: Path) -> Iterator[Path]:
    """A folder for embedded servers, whose name needs quotes.

    It is not in tmp_path: each new pytest process changes the permissions of that.
    """
    folder = Path(tempfile.mkdtemp(dir=scratch)) / "a home's"
    yield folder
    shutil.rmtree(folder.parent)


def _with_two_sales(installation: Installation) -> Installation:
    """Add two sales in pounds to the source; return the installation."""
    installation.add_orders(2).change(
        "UPDATE currency SET currency_code = 'GBP' WHERE currency_id = 1;"
        "UPDATE currency SET currency_code = 'USD' WHERE currency_id = 2;"
        "UPDATE currency SET currency_code = 'EUR' WHERE currency_id = 3;"
        "UPDATE sales_order SET units_sold = 100, unit_price = 2.50, currency_id = 1,"
        " created_at = '2022-11-07 09:00', counterparty_id = sales_order_id;"
        "UPDATE design SET design_name = '<script>alert(1)</script>' WHERE design_id = 1;"
        "UPDATE sales_order SET design_id = 1"
    )
    return installation


@pytest.fixture
def two_sales(installation: Installation) -> Installation:
    """A warehouse with two sales in pounds."""
    _with_two_sales(installation).run()
    return installation


@pytest.fixture
def rated(installation: Installation) -> Installation:
    """A warehouse with two sales in pounds, and exchange rates."""
    rated = _with_two_sales(installation).with_rates()
    rated.run()
    return rated


@pytest.fixture
def cluster(scratch: Path) -> Iterator[ClusterFactory]:
    """A function that starts temporary servers."""
    with ExitStack() as stack:

        def start(*, standby_of: EmbeddedServer | None = None, **settings: str) -> EmbeddedServer:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            stack.callback(shutil.rmtree, folder)
            inherited = standby_of._settings if standby_of else EMBEDDED
            new = EmbeddedServer(folder, {**inherited, **settings})
            if standby_of is not None:
                copy_to_standby(standby_of, new)
            stack.callback(new.stop)
            return new.start()

        yield start
