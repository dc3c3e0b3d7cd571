"""Create the database and the roles of the warehouse, and write its logins into their secrets.

The secrets hold the passwords. A secret without one gets a random one; each role then gets the
password of its secret. So a run that was killed is completed by the next.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from totes.config.dsn import Dsn
from totes.config.secrets import (
    read_secret_dsn,
    read_secret_fields,
    read_secret_uncached,
    write_secret,
)
from totes.config.settings import PREFIX, Settings
from totes.errors import UsageError, WarehouseError, WarehouseUnavailable
from totes.postgres.session import WAREHOUSE, Session, convert_database_errors, open_session
from totes.warehouse.connection import connect
from totes.warehouse.schema import READER

DATABASE = "warehouse"
LOADER = "totes_loader"
DASHBOARD = "dashboard"

PORT = 5432

TLS = {"sslmode": "verify-full", "sslrootcert": "data/rds-ca.pem"}
"""The root certificates of Amazon RDS, in the checkout, the functions' zip and the image."""

_ROLES = {
    LOADER: "CREATE ROLE totes_loader LOGIN",
    READER: "CREATE ROLE totes_reader",
    DASHBOARD: "CREATE ROLE dashboard LOGIN IN ROLE totes_reader",
}

_PASSWORD_BYTES = 32

_LOCK = "SELECT pg_advisory_lock(hashtext('totes.warehouse'))"
"""Otherwise a concurrent run could set a password that this one has replaced in the secret."""


@dataclass(frozen=True)
class _Login:
    """A role that logs in, the name of the secret for its login, and the setting with that name."""

    role: str
    secret: str
    setting: str


def create_warehouse(settings: Settings, *, replace: bool = False) -> list[str]:
    """Create what the server or a secret lacks; return what that was, in words.

    With `replace`, both logins get new passwords. Without it, a secret with a login of another
    database raises UsageError. Raises UsageError for settings and secrets, and WarehouseError for
    the server.
    """
    host, master, loader, dashboard = _require(
        settings,
        "warehouse_host",
        "warehouse_master_secret",
        "warehouse_secret",
        "dashboard_secret",
    )
    logins = (
        _Login(LOADER, loader, f"{PREFIX}WAREHOUSE_SECRET"),
        _Login(DASHBOARD, dashboard, f"{PREFIX}DASHBOARD_SECRET"),
    )
    server = _server(host, master)
    with convert_database_errors(WAREHOUSE, server), open_session(server, WAREHOUSE, {}) as session:
        session.execute(_LOCK)
        # All are read before anything is changed: one may have the login of another database.
        passwords = {login: None if replace else _find_password(login, host) for login in logins}
        created = [*_create_roles(session), *_create_database(session)]
        for login, password_in_secret in passwords.items():
            if password_in_secret is None:
                created.append(f"a password of {login.role}, in secret {login.secret}")
            password = password_in_secret or _write_password(login, host)
            _set_password(session, login.role, password)
        port = str(session.info.port)
    for login in logins:
        dsn = read_secret_dsn(login.secret, login.setting, None, WarehouseUnavailable)
        with connect(dsn.replace(port=port)):  # proves that the login works
            pass
    return created


def _require(settings: Settings, *names: str) -> list[str]:
    """Return the values of these settings; UsageError names those that are not set."""
    values = {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in names}
    if missing := [name for name, value in values.items() if value is None]:
        raise UsageError(f"`totes warehouse create` needs {', '.join(missing)}.")
    return [str(value) for value in values.values()]


def _server(host: str, secret: str) -> Dsn:
    """Return the DSN of the server's master; PGHOSTADDR and PGPORT may lead to a forwarded port."""
    setting = f"{PREFIX}WAREHOUSE_MASTER_SECRET"
    login = read_secret_fields(secret, setting, ("username", "password"))
    if missing := {"username", "password"} - login.keys():
        raise UsageError(f"The secret {secret} ({setting}) has no {min(missing)}.")
    return Dsn("").replace(
        host=host, dbname="postgres", user=login["username"], password=login["password"], **TLS
    )


def _find_password(login: _Login, host: str) -> str | None:
    """Return the password in the secret of a login, None if that is incomplete.

    Raises UsageError if it is a login of another database.
    """
    needed = {"host": host, "port": str(PORT), "dbname": DATABASE, "user": login.role}
    parts = read_secret_uncached(login.secret, login.setting, WarehouseUnavailable) or {}
    if others := [name for name, value in needed.items() if parts.get(name, value) != value]:
        differences = ", ".join(f"{name} {parts[name]}" for name in others)
        raise UsageError(
            f"The secret {login.secret} ({login.setting}) has a login of another database:"
            f" {differences}. Correct the setting, or replace it with --replace."
        )
    return parts.get("password") if needed.keys() <= parts.keys() else None


def _write_password(login: _Login, host: str) -> str:
    """Write a login with a random password into its secret, and return the password."""
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    address = {"host": host, "port": PORT, "dbname": DATABASE}
    fields = {**address, "username": login.role, "password": password, **TLS}
    write_secret(login.secret, login.setting, fields, WarehouseUnavailable)
    return password


def _create_roles(session: Session) -> Iterator[str]:
    existing = session.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(_ROLES)]
    ).fetchall()
    for role, statement in _ROLES.items():
        if (role,) not in existing:
            session.execute(statement)
            yield f"role {role}"


def _create_database(session: Session) -> Iterator[str]:
    """Create the database, and let no one but its owner and its readers connect."""
    # RDS' master is no superuser: it must be a member of the role that will own the database.
    loader, reader, database = map(sql.Identifier, (LOADER, READER, DATABASE))
    session.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(loader))
    owner = session.execute(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [DATABASE]
    ).fetchone()
    if owner is None:
        session.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, loader))
        yield f"database {DATABASE}"
    elif owner != (LOADER,):
        raise WarehouseError(
            f"The server already has a database {DATABASE}, which belongs to {owner[0]}: use "
            f"another server, or run ALTER DATABASE {DATABASE} OWNER TO {LOADER}."
        )
    session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    session.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, reader))


def _set_password(session: Session, role: str, password: str) -> None:
    """Set the password of a role by its hash: the server may log statements that alter roles."""
    verifier = session.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), verifier.decode())
    session.execute(statement)
