"""The warehouse's schema: made and upgraded by migrations, and checked against the contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest
from typing import Any

from psycopg import Connection, errors, sql
from psycopg.rows import class_row

from totes.errors import WarehouseError, WarehouseOutdated
from totes.failpoint import reach
from totes.settings import Dsn
from totes.star.contract import STARS, Star
from totes.warehouse.connection import connect, require_default_schema

READER = "totes_reader"
"""The role that may read everything here and change nothing."""

OLDEST_SERVER = 150000

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('totes.migrate', 0))"


@dataclass(frozen=True)
class _Column:
    """A column of a star table, as the contract wants it or as the warehouse has it."""

    table_name: str
    column_name: str
    type: str
    nullable: bool
    is_key: bool = False
    reference: str | None = None

    def __str__(self) -> str:
        null = "NULL" if self.nullable else "NOT NULL"
        key = " PRIMARY KEY" if self.is_key else ""
        reference = f" REFERENCES {self.reference}" if self.reference else ""
        return f"{self.column_name} {self.type} {null}{key}{reference}"


def migrate(dsn: Dsn) -> list[str]:
    """Bring the warehouse to this program's schema; the names of the migrations it took."""
    with connect(dsn) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise WarehouseError("The warehouse needs PostgreSQL 15 or newer.")
        require_default_schema(connection)
        with connection.transaction():
            connection.execute(_LOCK)
            _ensure_reader(connection)
            connection.execute(_sql("ledger.sql"))
            reach("migrate.before-ledger")
        reach("migrate.ledger-made")
        return [name for name in _migrations() if _apply(connection, name)]


def check(connection: Connection[Any]) -> None:
    """WarehouseError where the warehouse is older or newer than the program, or was altered."""
    check_migrations(connection)
    with connection.cursor(row_factory=class_row(_Column)) as cursor:
        query = _sql("catalogue.sql")
        found = cursor.execute(query, {"tables": list(STARS)}).fetchall()
    for star in STARS.values():
        expected = list(_expected(star))
        actual = [column for column in found if column.table_name == star.name]
        added = len(expected)  # columns that users added come last
        for want, have in zip_longest(expected, actual[:added]):
            if want != have:
                raise WarehouseError(
                    f"Table {star.name} of the warehouse differs from the contract: "
                    f"it has {have or 'nothing'} where {want or 'nothing'} belongs. "
                    "Restore it, or migrate an empty database and run `totes replay`."
                )


def check_migrations(connection: Connection[Any]) -> None:
    """WarehouseError where the warehouse is older or newer than the program."""
    require_default_schema(connection)
    applied = _applied(connection)
    _refuse_newer(applied)
    if not applied:
        raise WarehouseOutdated("The warehouse has no tables yet: `totes run --once` makes them.")
    if missing := sorted(set(_migrations()) - applied):
        raise WarehouseOutdated(
            f"The warehouse has not had migration {missing[0]}: run `totes warehouse migrate`."
        )


def _expected(star: Star) -> Iterator[_Column]:
    if star.surrogate:
        yield _Column(star.name, star.surrogate, "integer", nullable=False, is_key=True)
    for column in star.columns:
        yield _Column(
            star.name,
            column.name,
            column.type.postgres,
            column.nullable,
            is_key=not star.is_fact and column is star.key,
            reference=column.references,
        )
    if star.is_fact:
        moment = "timestamp with time zone"
        yield _Column(star.name, "valid_from", moment, nullable=False)
        yield _Column(star.name, "valid_to", moment, nullable=True)


def _apply(connection: Connection[Any], name: str) -> bool:
    """Apply one migration in a transaction of its own; false where it was there already."""
    with connection.transaction():
        connection.execute(_LOCK)
        applied = _applied(connection)
        _refuse_newer(applied)
        if name in applied:
            return False
        try:
            connection.execute(_sql(f"migrations/{name}"))
        except errors.DependentObjectsStillExist as error:
            dependents = (error.diag.message_detail or "").replace("\n", ", ")
            raise WarehouseError(
                f"Migration {name} failed: {error.diag.message_primary} ({dependents}). "
                "Drop what depends on it, run `totes warehouse migrate` again, and create it anew."
            ) from error
        connection.execute("INSERT INTO totes.migrations (name) VALUES (%s)", [name])
        reach("migrate.before-commit")
    reach("migrate.committed")
    return True


def _applied(connection: Connection[Any]) -> set[str]:
    if connection.execute("SELECT to_regclass('totes.migrations')").fetchone() == (None,):
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM totes.migrations")}


def _refuse_newer(applied: set[str]) -> None:
    if unknown := sorted(applied - set(_migrations())):
        raise WarehouseError(
            f"The warehouse has had migration {unknown[-1]}, which this program does not know: "
            "upgrade terrific-totes."
        )


def _ensure_reader(connection: Connection[Any]) -> None:
    if _known_role(connection):
        return
    try:
        with connection.transaction():
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(READER)))
    except errors.InsufficientPrivilege:
        raise WarehouseError(
            f"The role {READER} is missing and {connection.info.user} may not create it: "
            f"run `CREATE ROLE {READER}` as a superuser, then try again."
        ) from None
    except (errors.DuplicateObject, errors.UniqueViolation):
        return  # another warehouse of this server was quicker


def _known_role(connection: Connection[Any]) -> bool:
    return connection.execute("SELECT to_regrole(%s)", [READER]).fetchone() != (None,)


def _migrations() -> list[str]:
    """Names of the migrations this program knows, in order."""
    folder = files("totes.warehouse") / "migrations"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def _sql(path: str) -> bytes:
    return (files("totes.warehouse") / path).read_bytes()
