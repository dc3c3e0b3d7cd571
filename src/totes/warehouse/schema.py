"""The warehouse's schema: created, upgraded, and compared with the declaration of the star.

The star's tables come from its declaration, the bookkeeping in schema `totes` from migrations.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from psycopg import Connection, errors, sql
from psycopg.rows import dict_row

from totes.config.settings import Dsn
from totes.errors import WarehouseError, WarehouseOutdated
from totes.failpoint import reach
from totes.star.definition import TOTESYS, Star
from totes.warehouse.connection import connect, require_default_schema
from totes.warehouse.ddl import Addition, Mismatch, WarehouseColumn, WarehouseTable, compare

READER = "totes_reader"
"""The role that may read everything here and change nothing."""

OLDEST_SERVER = 150000

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('totes.migrate', 0))"


def migrate(dsn: Dsn, star: Star = TOTESYS) -> list[str]:
    """Create the warehouse's tables, or add what this program's need; what was added, in words.

    Raises WarehouseError, and adds nothing to the star, where it differs in another way.
    """
    with connect(dsn) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise WarehouseError("The warehouse needs PostgreSQL 15 or newer.")
        require_default_schema(connection)
        with connection.transaction():
            connection.execute(_LOCK)
            _ensure_reader(connection)
            connection.execute(_sql("ledger.sql"))
            reach("migrate.before-ledger")
            if not _applied(connection):
                _refuse_taken_names(connection, star)
        reach("migrate.ledger-made")
        applied = [f"migration {name}" for name in _migrations() if _apply(connection, name)]
        return [*applied, *_add(connection, star)]


def check(connection: Connection[Any], star: Star = TOTESYS) -> None:
    """WarehouseError where the warehouse is older or newer than the program, or was altered."""
    check_migrations(connection)
    for addition in _differences(connection, star):
        if addition.is_loaded:
            raise WarehouseOutdated(
                f"The warehouse lacks {addition.what}: run `totes warehouse migrate`."
            )


def is_made(connection: Connection[Any]) -> bool:
    """Whether any migration was applied: a first one that failed leaves an empty ledger."""
    return bool(_applied(connection))


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


def _add(connection: Connection[Any], star: Star) -> list[str]:
    """Add what the star's declaration has and the warehouse has not, in one transaction."""
    with connection.transaction():
        connection.execute(_LOCK)
        additions = list(_differences(connection, star))
        for addition in additions:
            for statement in addition.statements:
                connection.execute(statement)
        connection.execute(star.functions.encode())
        reach("migrate.before-star")
    reach("migrate.star-made")
    return [addition.what for addition in additions]


def _refuse_taken_names(connection: Connection[Any], star: Star) -> None:
    """WarehouseError where a warehouse that is new to the platform has relations of these names.

    They are somebody else's, even if they look like the star's.
    """
    query = (
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relkind NOT IN ('i', 'I')"
        " AND relnamespace = quote_ident(current_schema())::regnamespace ORDER BY 1"
    )
    taken = [name for (name,) in connection.execute(query, [list(star.tables)])]
    if taken:
        raise WarehouseError(
            f"The warehouse already has {', '.join(taken)}, not created by the platform: drop or "
            "rename what has that name, or use a database or schema without it."
        )


def _differences(connection: Connection[Any], star: Star) -> Iterator[Addition]:
    """What the warehouse lacks of the star; WarehouseError where it differs in another way."""
    found = _tables(connection, star)
    names = frozenset(name for (name,) in connection.execute(_sql("names.sql")))
    for table in star.tables.values():
        for difference in compare(table, found.get(table.name), names, READER):
            if isinstance(difference, Mismatch):
                raise WarehouseError(
                    f"Table {table.name} of the warehouse has {difference.found}, but "
                    f"{difference.expected} is declared. "
                    "Restore it, or migrate an empty database and run `totes replay`."
                )
            yield difference


def _tables(connection: Connection[Any], star: Star) -> dict[str, WarehouseTable]:
    """The star's tables that the warehouse has, by name."""
    found: dict[str, WarehouseTable] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(_sql("catalogue.sql"), {"tables": list(star.tables)}):
            name, key = row.pop("table_name"), row.pop("key")
            table = found.setdefault(name, WarehouseTable({}, tuple(key)))
            table.columns[row["name"]] = WarehouseColumn(**row)
    return found


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
