"""Sessions of PostgreSQL: their settings, and errors that name the source or the warehouse.

Settings are set with SET after connecting, so they override PG… variables, the DSN, ALTER ROLE,
ALTER DATABASE and postgresql.conf. None is sent as a startup option, which poolers reject.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import Connection, Cursor, errors, sql
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from totes.config.dsn import Dsn
from totes.errors import (
    SourceError,
    SourceUnavailable,
    TotesError,
    WarehouseError,
    WarehouseLocked,
    WarehouseUnavailable,
)
from totes.postgres.sqlstate import can_retry, meaning, message_with_advice

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "client_encoding": "UTF8",
        "datestyle": "ISO, YMD",
        "intervalstyle": "iso_8601",
        "timezone": "UTC",
        "extra_float_digits": "3",
        "bytea_output": "hex",
        "xmlbinary": "base64",
        "xmloption": "content",
        "lc_monetary": "C",
        "lc_numeric": "C",
        "lc_time": "C",
        "standard_conforming_strings": "on",
        "array_nulls": "on",
        "transform_null_equals": "off",
        "quote_all_identifiers": "off",
        "exit_on_error": "off",
        "client_min_messages": "warning",
        "default_transaction_isolation": "read committed",
        "default_transaction_deferrable": "off",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "transaction_timeout": "0",
        "jit": "off",  # compilation would take longer than these statements
    }
)
"""Settings of every session; the caller may override them.

Settings that do not change results keep the administrator's choice: tablespaces, memory, planner,
synchronous_commit, default_transaction_read_only.
"""

_MINIMUM_VERSIONS = MappingProxyType({"transaction_timeout": 170000})
"""The first server version that has a setting."""

_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "application_name": "totes",
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "tcp_user_timeout": "60000",
    }
)
"""Connection parameters, unless the DSN sets them."""

_MAX_AGE_SECONDS = 600.0
"""An older session is replaced: a host name, a role or its defaults may have changed."""

_MAX_RETRIES = 20
"""How often a statement is sent again after a short statement_timeout has cancelled it."""


@dataclass(frozen=True)
class Side[E: TotesError]:
    """One of the two databases: its name, and the classes of its errors.

    `locked` is raised when a lock is not available, `unavailable` for other errors after which a
    retry may help, `failed` for the rest.
    """

    name: str
    failed: type[E]
    unavailable: type[E]
    locked: type[E]

    def error_class(self, error: psycopg.Error) -> type[E]:
        """Return the class of TotesError for an error of psycopg."""
        if isinstance(error, errors.LockNotAvailable):
            return self.locked
        return self.unavailable if can_retry(error) else self.failed


SOURCE = Side("source", SourceError, SourceUnavailable, SourceUnavailable)
WAREHOUSE = Side("warehouse", WarehouseError, WarehouseUnavailable, WarehouseLocked)


class Session(Connection[Any]):
    """A connection whose errors have an attribute `side`: SOURCE or WAREHOUSE."""

    side: Side[Any]
    opened_at: float
    """`time.monotonic()` when it was opened."""

    def wait[T](self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Communicate with the server; psycopg calls this for every statement."""
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            error.__dict__.setdefault("side", self.side)
            raise


def open_session(
    dsn: Dsn, side: Side[Any], settings: Mapping[str, str], **parameters: str
) -> Session:
    """Open an autocommit session with SETTINGS, overridden by `settings`.

    `parameters` are connection parameters of libpq. Raises the side's error if the server can't be
    reached, or is behind a pooler that would lose the settings.
    """
    session = _connect(dsn, side, parameters)
    session.opened_at = time.monotonic()
    try:
        _reject_transaction_pooler(session, lambda: _connect(dsn, side, parameters))
        _set(session, {**SETTINGS, **settings})
    except BaseException:
        session.close()
        raise
    return session


def open_replication_session(
    dsn: Dsn, side: Side[Any], settings: Mapping[str, str], **parameters: str
) -> Session:
    """Open a session as `open_session` does, in which START_REPLICATION can be executed."""
    session = _connect(dsn, side, {**parameters, "replication": "database"})
    try:
        _set(session, {**SETTINGS, **settings})
    except BaseException:
        session.close()
        raise
    return session


@dataclass
class _KeptSessions:
    """Idle sessions by what they were opened with, and the number of callers that keep them."""

    keepers: int = 0
    idle: dict[tuple[object, ...], list[Session]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def take(self, opened_with: tuple[object, ...]) -> Session | None:
        """Return an idle session that works, without temporary tables and prepared statements."""
        while sessions := self.idle.get(opened_with):
            with suppress(IndexError):  # another thread has taken it
                session = sessions.pop()
                with suppress(psycopg.Error):
                    if time.monotonic() - session.opened_at < _MAX_AGE_SECONDS:
                        session.execute("DISCARD TEMP; DEALLOCATE ALL")
                        return session
                session.close()
        return None

    def keep(self, opened_with: tuple[object, ...], session: Session) -> None:
        """Keep a session for reuse; outside of `keep_sessions`, close it."""
        with self.lock:
            if self.keepers:
                self.idle.setdefault(opened_with, []).append(session)
                return
        session.close()

    def add_keepers(self, number: int) -> None:
        """Change the number of keepers; close all idle sessions after the last one."""
        with self.lock:
            self.keepers += number
            idle = [] if self.keepers else [s for sessions in self.idle.values() for s in sessions]
            if not self.keepers:
                self.idle.clear()
        for session in idle:
            session.close()


_kept = _KeptSessions()


@contextmanager
def keep_sessions() -> Iterator[None]:
    """Within the block, keep the sessions of `use_session` for reuse; close them at its end.

    A new server process must read the catalogues first, which takes longer than most statements of
    a small batch.
    """
    _kept.add_keepers(1)
    try:
        yield
    finally:
        _kept.add_keepers(-1)


@contextmanager
def use_session(
    dsn: Dsn, side: Side[Any], settings: Mapping[str, str], **parameters: str
) -> Iterator[Session]:
    """Yield a session as `open_session` returns it, and close it or keep it (`keep_sessions`).

    A session is only kept if the block has raised no error and left no transaction open.
    """
    opened_with = (dsn, side.name, *settings.items(), *parameters.items())
    session = _kept.take(opened_with) or open_session(dsn, side, settings, **parameters)
    try:
        yield session
    except BaseException:
        session.close()
        raise
    if session.info.transaction_status == TransactionStatus.IDLE:
        _kept.keep(opened_with, session)
    else:
        session.close()


@contextmanager
def convert_database_errors(side: Side[Any], dsn: Dsn) -> Iterator[None]:
    """Turn expected errors of this side's sessions into the side's TotesErrors."""
    try:
        yield
    except psycopg.Error as error:
        if not is_raised_by(side, error) or meaning(error) is None:
            raise
        reason = message_with_advice(error)
        raise side.error_class(error)(f"The {side.name} {dsn} failed: {reason}.") from error


def is_raised_by(side: Side[Any], error: psycopg.Error) -> bool:
    """Whether a session of this side raised the error; also true if the error has no side."""
    return error.__dict__.get("side", side) is side


def _connect(dsn: Dsn, side: Side[Any], parameters: Mapping[str, str]) -> Session:
    defaults = {name: value for name, value in _PARAMETERS.items() if not dsn.has(name)}
    if str(dsn.parts.get("host")).startswith("/") and not dsn.has("hostaddr"):
        defaults["hostaddr"] = ""  # the host is a socket's folder: PGHOSTADDR must not override it
    try:
        session = dsn.connect(
            lambda conninfo: Session.connect(
                make_conninfo(conninfo, **{**defaults, **parameters}, client_encoding="UTF8"),
                autocommit=True,
            )
        )
    except psycopg.OperationalError as error:
        reason = message_with_advice(error)
        raise side.error_class(error)(
            f"The {side.name} {dsn} can't be reached: {reason}."
        ) from None
    session.side = side
    return session


def _reject_transaction_pooler(session: Session, open_other: Callable[[], Session]) -> None:
    """Reject a pooler in transaction mode: each transaction may run in another server process.

    There is a pooler if the server process is not the one that libpq was given when it connected.
    To find its mode, a second session keeps its process busy with a transaction: in session mode,
    the first session still has its own process.
    """
    first_pid = _backend_pid(session)
    if first_pid == session.info.backend_pid:
        return
    with open_other() as other, other.transaction():
        if _backend_pid(other) != first_pid and _backend_pid(session) == first_pid:
            return
    raise session.side.failed(
        f"The {session.side.name} is behind a pooler in transaction mode, which would lose the "
        "session's settings: connect directly, or through a pooler in session mode."
    )


def _backend_pid(session: Session) -> int:
    """Return the id of the server process that executes the session's statements."""
    cursor = _execute_until_not_cancelled(
        session, sql.SQL("SET LOCAL statement_timeout = 0; SELECT pg_catalog.pg_backend_pid()")
    )
    cursor.nextset()
    [(pid,)] = cursor.fetchall()
    return int(pid)


def _set(session: Session, settings: Mapping[str, str]) -> None:
    version = session.info.server_version
    statements = [
        sql.SQL("SET {} = {}").format(sql.Identifier(name), value)
        for name, value in settings.items()
        if version >= _MINIMUM_VERSIONS.get(name, 0)
    ]
    # A short statement_timeout may cancel the first statement, which switches it off.
    first = sql.SQL("SET statement_timeout = 0")
    _execute_until_not_cancelled(session, sql.SQL("; ").join([first, *statements]))


def _execute_until_not_cancelled(session: Session, query: sql.SQL | sql.Composed) -> Cursor[Any]:
    """Execute a query that switches statement_timeout off; retry if the timeout cancels it."""
    for _ in range(_MAX_RETRIES):
        with suppress(errors.QueryCanceled):
            return session.execute(query)
    return session.execute(query)
