"""Real servers for the tests: one PostgreSQL for each worker, fresh databases for each test."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import hypothesis
import psycopg
import pytest
from installation import Installation
from psycopg import sql
from scratch_source import GRANTS, ScratchSource, scratch_source_on

from totes.config.settings import Dsn
from totes.embedded.servers import (
    EmbeddedServer,
    Source,
    prepare_source,
    prepare_warehouse,
)
from totes.warehouse.schema import migrate

if TYPE_CHECKING:
    from s3_service import S3Service

hypothesis.settings.register_profile("ci", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci")

THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""What dies with the test need not survive a crash."""


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
    """Starts a throw-away server with `settings` of its own.

    With `standby_of`, a hot standby of that server. The server may be stopped and started again
    with its own `stop` and `start`; the test's end removes it.
    """

    def __call__(
        self, *, standby_of: EmbeddedServer | None = None, **settings: str
    ) -> EmbeddedServer: ...


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted (`record_property`), whichever worker ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


LONGEST = ("test_aws_demo.py", "test_history.py", "test_soak.py::test_nothing_is_lost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest are spread over the whole list, so that each worker begins with one."""
    longest = [item for item in items if any(name in item.nodeid for name in LONGEST)]
    total = len(items)
    items[:] = [item for item in items if item not in longest]
    for number, item in enumerate(longest):  # one place earlier would be a worker's last
        items.insert(number * total // len(longest), item)


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Streamlit's tests replace `__main__`, which processes started later would run again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder with a short path (for sockets) that the system user `nobody` may pass."""
    with tempfile.TemporaryDirectory(prefix="totes-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[EmbeddedServer]:
    """One PostgreSQL for the test session; `server.dsn` is the superuser's."""
    with EmbeddedServer(scratch / "server", THROW_AWAY) as running:
        yield running


class SystemServer(EmbeddedServer):
    """A server of the PostgreSQL that the machine has installed, with `binaries` in a folder."""

    binaries: Path

    def run(self, program: str, *arguments: str) -> str:
        return super().run(str(self.binaries / program), *arguments)

    def _initialize(self) -> None:
        options = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self.run("initdb", f"--pgdata={self.data}", "--username=postgres", *options)


@pytest.fixture(scope="session")
def older(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server older than the embedded ones: PostgreSQL 15 on Debian 12."""
    installed = sorted(Path("/usr/lib/postgresql").glob("1[4-7]/bin/initdb"))
    if not installed:
        pytest.skip("no older PostgreSQL is installed in /usr/lib/postgresql")
    SystemServer.binaries = installed[0].parent
    with SystemServer(scratch / "older", THROW_AWAY) as running:
        yield running


@pytest.fixture(scope="session")
def service() -> Iterator["S3Service"]:
    """S3, and AWS's other services; each test makes a bucket of its own."""
    from s3_service import S3Service  # noqa: PLC0415  moto takes a second

    with S3Service() as running:
        yield running


@pytest.fixture(scope="session")
def database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count(1))


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> Source:
    """The database every test's totesys is cloned from; nobody may stay connected to it."""
    return prepare_source(server.dsn, "totesys_template")


@pytest.fixture(scope="session")
def fresh(server: EmbeddedServer, template: Source, database_names: Iterator[str]) -> Fresh:
    """Makes an empty totesys for the time of a `with`."""

    @contextmanager
    def make() -> Iterator[Totesys]:
        name = next(database_names)
        source = prepare_source(server.dsn, name, str(template.owner.parts["dbname"]))
        try:
            yield Totesys(admin=source.superuser, owner=source.owner, dsn=source.reader)
        finally:
            _drop(server.dsn, name)

    return make


@pytest.fixture
def totesys(fresh: Fresh) -> Iterator[Totesys]:
    """A totesys without rows."""
    with fresh() as made:
        yield made


@pytest.fixture
def scratch_source(totesys: Totesys, tmp_path: Path) -> ScratchSource:
    """An empty schema beside totesys, of any shape a test gives it."""
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
    yield scratch_source_on(server, tmp_path, name)
    _drop(server.dsn, name)


@pytest.fixture(scope="session")
def migrated(server: EmbeddedServer) -> str:
    """The database every test's warehouse is cloned from: making its tables takes its time."""
    migrate(prepare_warehouse(server.dsn, "warehouse_template").loader)
    return "warehouse_template"


@pytest.fixture
def warehouse(
    request: pytest.FixtureRequest, server: EmbeddedServer, database_names: Iterator[str]
) -> Iterator[EmptyWarehouse]:
    """A fresh warehouse without rows; without tables, too, where the test says `bare`."""
    name = next(database_names)
    bare = request.node.get_closest_marker("bare")
    template = None if bare else request.getfixturevalue("migrated")
    made = prepare_warehouse(server.dsn, name, template)
    yield EmptyWarehouse(admin=made.superuser, dsn=made.loader, reader=made.reader)
    _drop(server.dsn, name)


@pytest.fixture
def copied(server: EmbeddedServer, database_names: Iterator[str]) -> Iterator[Callable[[Dsn], Dsn]]:
    """Copies the warehouse of a DSN, which nobody may be connected to."""
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
        _drop(server.dsn, name)


@pytest.fixture
def installation(totesys: Totesys, warehouse: EmptyWarehouse, tmp_path: Path) -> Installation:
    """A platform between a totesys and a warehouse without rows."""
    return Installation(totesys.owner, totesys.dsn, warehouse.dsn, tmp_path)


@pytest.fixture
def cluster(scratch: Path) -> Iterator[ClusterFactory]:
    """Throw-away servers beside the common one."""
    with ExitStack() as stack:

        def start(*, standby_of: EmbeddedServer | None = None, **settings: str) -> EmbeddedServer:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            stack.callback(shutil.rmtree, folder)
            inherited = standby_of._settings if standby_of else THROW_AWAY
            new = EmbeddedServer(folder, {**inherited, **settings})
            if standby_of is not None:
                _copy(standby_of, new)
            stack.callback(new.stop)
            return new.start()

        yield start


def _drop(server: Dsn, database: str) -> None:
    """Also where a failed test left connections."""
    with psycopg.connect(server.reveal(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
        )


def _copy(primary: EmbeddedServer, standby: EmbeddedServer) -> None:
    standby._make_folder()
    primary.run(
        "pg_basebackup",
        f"--dbname={primary.dsn.reveal()}",
        f"--pgdata={standby.data}",
        "--checkpoint=fast",
        "--write-recovery-conf",
    )
