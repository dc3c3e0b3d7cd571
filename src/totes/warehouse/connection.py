"""Connections to the warehouse, and its failures told in one line."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, errors
from psycopg.conninfo import make_conninfo

from totes.batch import Identity
from totes.errors import WarehouseAway, WarehouseError, WarehouseLocked
from totes.policy import passes
from totes.settings import Dsn

_OPTIONS = {
    "application_name": "totes",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "tcp_user_timeout": "60000",
    "options": "-c TimeZone=UTC -c DateStyle=ISO -c lock_timeout=60s -c client_encoding=UTF8",
}

_HINTS = (
    ("password authentication failed|no password supplied", "check user and password"),
    ("database .* does not exist", "create the database, or correct its name"),
    ("role .* does not exist", "create the role, or correct the user's name"),
    ("permission denied for database", "GRANT CONNECT on it to this user"),
    ("could not translate host name|resolve", "check the host's name"),
    ("refused|timeout|timed out|No such file|unreachable", "check host and port, and start it"),
)
"""What a person does about a connection that failed, by what the server or libpq said."""

_ADVICE: dict[type[psycopg.Error], str] = {
    errors.LockNotAvailable: "another session holds the warehouse's tables, try again later",
    errors.InsufficientPrivilege: "`totes check` says which role or GRANT helps",
    errors.DiskFull: "make room on the server's disk",
}

FORESEEN = (psycopg.OperationalError, psycopg.IntegrityError, errors.InsufficientPrivilege)
"""What a warehouse may do to a program without fault; anything else is a bug and shows itself."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[Connection[Any]]:
    """An autocommit session in UTC; its failures, also later ones, are WarehouseErrors."""
    try:
        connection = dsn.open(
            lambda known: psycopg.connect(make_conninfo(known, **_settings(dsn)), autocommit=True)
        )
    except psycopg.OperationalError as error:
        raise _kind(error)(f"The warehouse {dsn} can't be reached: {_reason(error)}.") from None
    with connection:
        try:
            yield connection
        except FORESEEN as error:
            raise _kind(error)(f"The warehouse {dsn} failed: {_reason(error)}.") from error


def is_database(connection: Connection[Any], identity: Identity) -> bool:
    """Whether this is the database that a batch was captured from."""
    found = connection.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system())::text, oid::bigint"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return found == (identity.system_identifier, identity.database_oid)


def _settings(dsn: Dsn) -> dict[str, str]:
    """The session's settings, where the DSN does not set them itself."""
    own = dsn.parts
    settings = {name: value for name, value in _OPTIONS.items() if name not in own}
    if "options" in own:
        settings["options"] = f"{_OPTIONS['options']} {own['options']}"
    return settings


def _kind(error: psycopg.Error) -> type[WarehouseError]:
    if isinstance(error, errors.LockNotAvailable):
        return WarehouseLocked
    return WarehouseAway if passes(error) else WarehouseError


def _reason(error: psycopg.Error) -> str:
    """The server's or libpq's words in one line, and what to do."""
    said = error.diag.message_primary or str(error)
    said = re.sub(r"\n\t.*", "", said)  # libpq's guesses at the cause
    said = re.sub(r"\n(DETAIL|HINT):.*", "", said)
    line = re.sub(r"^.*(FATAL|failed|error):\s+", "", said.strip().splitlines()[-1]).rstrip(". ")
    if detail := error.diag.message_detail:
        line = f"{line} ({detail.rstrip('.')})"
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return f"{line}: {advice}"
    for pattern, advice in _HINTS:
        if re.search(pattern, said):
            return f"{line}: {advice}"
    return line
