"""Sessions of PostgreSQL: each has the settings that it sets itself, and its errors know its side.

Settings are set once the session is open, and after all that would set them otherwise: PG…
variables, the DSN, ALTER ROLE, ALTER DATABASE, postgresql.conf. Nothing is sent as a startup
option, which poolers refuse.
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
from totes.postgres.sqlstate import meaning, told

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
"""What every session has, unless its caller asks for something else.

Not among them is what an administrator decides and no value depends on: tablespaces, memory,
planner, synchronous_commit, and default_transaction_read_only, which is respected.
"""

_SINCE = MappingProxyType({"transaction_timeout": 170000})
"""Settings that older servers don't have."""

_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "application_name": "totes",
        "connect_timeout": "10",
        "keepalives_idle": "30",
        "tcp_user_timeout": "60000",
    }
)
"""Of a connection, where its DSN doesn't say otherwise."""

_HASTY = 20
"""How often a statement is sent again that a statement_timeout of the server's cancels."""


@dataclass(frozen=True)
class Side[E: TotesError]:
    """One of the two databases: its name, and the kinds of its errors."""

    name: str
    refused: type[E]
    away: type[E]
    locked: type[E]

    def kind(self, error: psycopg.Error) -> type[E]:
        """Of which kind an error is."""
        if isinstance(error, errors.LockNotAvailable):
            return self.locked
        known = meaning(error)
        return self.away if known and known.passes else self.refused


SOURCE = Side("source", SourceError, SourceAway, SourceAway)
WAREHOUSE = Side("warehouse", WarehouseError, WarehouseAway, WarehouseLocked)


class Session(Connection[Any]):
    """A connection whose errors tell which side raised them, wherever they are caught."""

    side: Side[Any]

    def wait[T](self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Everything that psycopg asks the server goes through here."""
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            error.__dict__.setdefault("side", self.side)
            raise


def open_session(
    dsn: Dsn, side: Side[Any], settings: Mapping[str, str], **parameters: str
) -> Session:
    """An autocommit session with SETTINGS, and `settings` over them; `parameters` are libpq's.

    Raises the side's error where the server can't be reached, or a pooler would lose the settings.
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
    """Errors of this side's sessions become its own; others pass, and so does what is a bug."""
    try:
        yield
    except psycopg.Error as error:
        if not is_of(side, error) or meaning(error) is None:
            raise
        raise side.kind(error)(f"The {side.name} {dsn} failed: {told(error)}.") from error


def is_of(side: Side[Any], error: psycopg.Error) -> bool:
    """Whether a session of this side raised it; one that is closed already raises as nobody's."""
    return error.__dict__.get("side", side) is side


def _connected(dsn: Dsn, side: Side[Any], parameters: Mapping[str, str]) -> Session:
    given = {name: value for name, value in _PARAMETERS.items() if not dsn.has(name)}
    if str(dsn.parts.get("host")).startswith("/") and not dsn.has("hostaddr"):
        given["hostaddr"] = ""  # a socket is meant, whatever PGHOSTADDR says
    try:
        session = dsn.open(
            lambda known: Session.connect(
                make_conninfo(known, **{**given, **parameters}, client_encoding="UTF8"),
                autocommit=True,
            )
        )
    except psycopg.OperationalError as error:
        raise side.kind(error)(f"The {side.name} {dsn} can't be reached: {told(error)}.") from None
    session.side = side
    return session


def _refuse_transaction_pool(session: Session, another: Callable[[], Session]) -> None:
    """Refuse a pooler that changes the server's process from one transaction to the next.

    Whether there is a pooler tells the process that the session began with: it isn't the one that
    answers. Then a second session keeps a process for a transaction: in session mode, the first
    one's stays its own meanwhile.
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
    cursor = _hastily(
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
    # The first one frees the others of the timeout that it may itself fall to.
    _hastily(session, sql.SQL("; ").join([sql.SQL("SET statement_timeout = 0"), *statements]))


def _hastily(session: Session, query: sql.SQL | sql.Composed) -> Cursor[Any]:
    """Ask again where a statement_timeout cancels it that is to be set aside."""
    for _ in range(_HASTY):
        with suppress(errors.QueryCanceled):
            return session.execute(query)
    return session.execute(query)
