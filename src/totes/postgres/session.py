"""Sessions of PostgreSQL: their settings, and errors that name the source or the warehouse.

Settings are set by SET after connecting, so they override PG… variables, the DSN, ALTER ROLE,
ALTER DATABASE and postgresql.conf. Nothing is sent as a startup option, which poolers refuse.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import Connection, Cursor, errors, sql
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo

from totes.config.settings import Dsn
from totes.errors import (
    SourceAway,
    SourceError,
    TotesError,
    WarehouseAway,
    WarehouseError,
    WarehouseLocked,
)
from totes.postgres.sqlstate import meaning, message_with_advice, passes

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
        "jit": "off",  # compiling costs more than these statements run
    }
)
"""Settings of every session, unless its caller asks for others.

Settings on which no value depends are left to the administrator: tablespaces, memory, planner,
synchronous_commit, default_transaction_read_only.
"""

_SINCE = MappingProxyType({"transaction_timeout": 170000})
"""The server version with which a setting came."""

_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "application_name": "totes",
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "tcp_user_timeout": "60000",
    }
)
"""Connection parameters, where the DSN has no others."""

_MOST_CANCELED = 20
"""How often a statement is sent again after a short statement_timeout has canceled it."""


@dataclass(frozen=True)
class Side[E: TotesError]:
    """One of the two databases: its name, and the kinds of its errors."""

    name: str
    refused: type[E]
    away: type[E]
    locked: type[E]

    def kind(self, error: psycopg.Error) -> type[E]:
        """The class of TotesError that an error becomes."""
        if isinstance(error, errors.LockNotAvailable):
            return self.locked
        return self.away if passes(error) else self.refused


SOURCE = Side("source", SourceError, SourceAway, SourceAway)
WAREHOUSE = Side("warehouse", WarehouseError, WarehouseAway, WarehouseLocked)


class Session(Connection[Any]):
    """A connection that notes its side in the errors that it raises."""

    side: Side[Any]

    def wait[T](self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Psycopg calls this for all communication with the server."""
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            error.__dict__.setdefault("side", self.side)
            raise


def open_session(
    dsn: Dsn, side: Side[Any], settings: Mapping[str, str], **parameters: str
) -> Session:
    """An autocommit session with SETTINGS, and `settings` over them; `parameters` are libpq's.

    Raises the side's error where the server can't be reached, or is behind a pooler that would lose
    the settings.
    """
    session = _connected(dsn, side, parameters)
    try:
        _refuse_transaction_pool(session, lambda: _connected(dsn, side, parameters))
        _set(session, {**SETTINGS, **settings})
    except BaseException:
        session.close()
        raise
    return session


@contextmanager
def reported(side: Side[Any], dsn: Dsn) -> Iterator[None]:
    """Turn expected errors of this side's sessions into the side's TotesErrors."""
    try:
        yield
    except psycopg.Error as error:
        if not is_raised_by(side, error) or meaning(error) is None:
            raise
        reason = message_with_advice(error)
        raise side.kind(error)(f"The {side.name} {dsn} failed: {reason}.") from error


def is_raised_by(side: Side[Any], error: psycopg.Error) -> bool:
    """Whether a session of this side raised it; also true of errors that name no side."""
    return error.__dict__.get("side", side) is side


def _connected(dsn: Dsn, side: Side[Any], parameters: Mapping[str, str]) -> Session:
    given = {name: value for name, value in _PARAMETERS.items() if not dsn.has(name)}
    if str(dsn.parts.get("host")).startswith("/") and not dsn.has("hostaddr"):
        given["hostaddr"] = ""  # the host is a socket's folder: PGHOSTADDR must not override it
    try:
        session = dsn.open(
            lambda known: Session.connect(
                make_conninfo(known, **{**given, **parameters}, client_encoding="UTF8"),
                autocommit=True,
            )
        )
    except psycopg.OperationalError as error:
        reason = message_with_advice(error)
        raise side.kind(error)(f"The {side.name} {dsn} can't be reached: {reason}.") from None
    session.side = side
    return session


def _refuse_transaction_pool(session: Session, another: Callable[[], Session]) -> None:
    """Refuse a pooler in transaction mode: it may use another server process for each transaction.

    There is a pooler where the process that answers is not the one that libpq was given at the
    start. Its mode shows while a second session keeps a process busy by a transaction: in session
    mode, the first session still has the same process.
    """
    first = _process(session)
    if first == session.info.backend_pid:
        return
    with another() as other, other.transaction():
        if _process(other) != first and _process(session) == first:
            return
    raise session.side.refused(
        f"A pooler in transaction mode stands before the {session.side.name}, and would lose the "
        "session's settings: connect directly, or through a pool in session mode."
    )


def _process(session: Session) -> int:
    """The number of the server's process that answers."""
    cursor = _execute_until_not_canceled(
        session, sql.SQL("SET LOCAL statement_timeout = 0; SELECT pg_catalog.pg_backend_pid()")
    )
    cursor.nextset()
    [(process,)] = cursor.fetchall()
    return int(process)


def _set(session: Session, settings: Mapping[str, str]) -> None:
    version = session.info.server_version
    statements = [
        sql.SQL("SET {} = {}").format(sql.Identifier(name), value)
        for name, value in settings.items()
        if version >= _SINCE.get(name, 0)
    ]
    # The first statement switches off a short statement_timeout, which may still cancel the first.
    first = sql.SQL("SET statement_timeout = 0")
    _execute_until_not_canceled(session, sql.SQL("; ").join([first, *statements]))


def _execute_until_not_canceled(session: Session, query: sql.SQL | sql.Composed) -> Cursor[Any]:
    """Execute a query that switches statement_timeout off, again where the timeout was quicker."""
    for _ in range(_MOST_CANCELED):
        with suppress(errors.QueryCanceled):
            return session.execute(query)
    return session.execute(query)
