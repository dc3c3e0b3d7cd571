"""Create, upgrade and check the warehouse's schema.

The star tables are created from the declaration, the tables in schema `totes` by migrations.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from psycopg import Connection, errors, sql
from psycopg.rows import dict_row

from totes.config.dsn import Dsn
from totes.errors import WarehouseError, WarehouseOutdated
from totes.failpoint import reach
from totes.postgres.sqlstate import message
from totes.sql_text import read_sql
from totes.star.folder import TOTESYS, Star
from totes.warehouse.connection import connect, require_default_schema
from totes.warehouse.ddl import (
    Addition,
    Mismatch,
    WarehouseColumn,
    WarehouseTable,
    compare,
    warehouse_columns,
)

READER = "totes_reader"
"""The role that may read the whole warehouse and write nothing."""

MIN_SERVER_VERSION = 150000

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('totes.migrate', 0))"


def migrate(dsn: Dsn, star: Star = TOTESYS) -> list[str]:
    """Create the warehouse's tables, or add what is missing; return descriptions of the additions.

    Raises WarehouseError, and changes no star table, if the warehouse differs in any other way.
    """
    with connect(dsn) as connection:
        if connection.info.server_version < MIN_SERVER_VERSION:
            raise WarehouseError("The warehouse needs PostgreSQL 15 or newer.")
        require_default_schema(connection)
        with connection.transaction():
            connection.execute(_LOCK)
            _create_reader_role(connection)
            connection.execute(read_sql(__package__, "migrations_table.sql"))
            reach("migrate.before-migrations-table")
            if not _read_applied(connection):
                _check_names_are_free(connection, star)
        reach("migrate.migrations-table-created")
        applied = [
            f"migration {name}" for name in _list_migrations() if _apply_migration(connection, name)
        ]
        return [*applied, *_add_missing(connection, star)]


def check_schema(connection: Connection[Any], star: Star = TOTESYS) -> None:
    """Raise WarehouseError if the schema is newer than the program or was altered.

    WarehouseOutdated if it is older.
    """
    check_migrations(connection)
    for addition in _find_additions(connection, star):
        if addition.is_loaded:
            raise WarehouseOutdated(
                f"The warehouse has no {addition.what}: run `totes warehouse migrate`."
            )


def has_tables(connection: Connection[Any]) -> bool:
    """Return whether any migration was applied, and not only the table of migrations created."""
    return bool(_read_applied(connection))


def check_migrations(connection: Connection[Any]) -> None:
    """Raise WarehouseOutdated if the warehouse's migrations are older than the program.

    WarehouseError if they are newer.
    """
    require_default_schema(connection)
    applied = _read_applied(connection)
    _check_not_newer(applied)
    if not applied:
        raise WarehouseOutdated("The warehouse has no tables yet: run `totes run --once`.")
    if missing := sorted(set(_list_migrations()) - applied):
        raise WarehouseOutdated(
            f"The warehouse lacks migration {missing[0]}: run `totes warehouse migrate`."
        )


def _add_missing(connection: Connection[Any], star: Star) -> list[str]:
    """Add everything declared that the warehouse does not have, in one transaction."""
    with connection.transaction():
        connection.execute(_LOCK)
        additions = list(_find_additions(connection, star))
        for addition in additions:
            for statement in addition.statements:
                connection.execute(statement)
        connection.execute(star.functions.encode())
        connection.execute(
            "INSERT INTO totes.star_columns"
            " SELECT * FROM unnest(%(tables)s::text[], %(columns)s::text[]) ON CONFLICT DO NOTHING",
            _declared_columns(star),
        )
        reach("migrate.before-star")
    reach("migrate.star-created")
    return [addition.what for addition in additions]


def _check_names_are_free(connection: Connection[Any], star: Star) -> None:
    """Raise WarehouseError if a new warehouse already has relations with names of star tables.

    The platform did not create them, even if they have the same columns.
    """
    query = (
        "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relkind NOT IN ('i', 'I')"
        " AND relnamespace = quote_ident(current_schema())::regnamespace ORDER BY 1"
    )
    existing = [name for (name,) in connection.execute(query, [list(star.tables)])]
    if existing:
        raise WarehouseError(
            f"The warehouse already has {', '.join(existing)}, not created by the platform: drop "
            "or rename them, or use another database or schema."
        )


def _declared_columns(star: Star) -> dict[str, list[str]]:
    """Return two lists with an element for each column of the star in the warehouse."""
    pairs = [(t.name, column.name) for t in star.tables.values() for column in warehouse_columns(t)]
    return {
        "tables": [table for table, _ in pairs],
        "columns": [column for _, column in pairs],
    }


def _check_nothing_removed(connection: Connection[Any], star: Star) -> None:
    """Raise WarehouseError if a table or column was removed from the declaration, or renamed.

    Columns that users added to star tables are not recorded, so they are ignored.
    """
    query = connection.execute(read_sql(__package__, "removed.sql"), _declared_columns(star))
    for table, column, is_table_declared in query:
        description = f"column {table}.{column}" if is_table_declared else f"table {table}"
        raise WarehouseError(
            f"The warehouse has {description}, which is no longer declared: no data would reach it."
            " Declare it again, or migrate an empty database and run `totes replay`."
        )


def _find_additions(connection: Connection[Any], star: Star) -> Iterator[Addition]:
    """Yield what the warehouse lacks; raises WarehouseError if it differs in any other way."""
    _check_nothing_removed(connection, star)
    existing = _read_tables(connection, star)
    names = frozenset(name for (name,) in connection.execute(read_sql(__package__, "names.sql")))
    for table in star.tables.values():
        for difference in compare(table, existing.get(table.name), names, READER):
            if isinstance(difference, Mismatch):
                raise WarehouseError(
                    f"Table {table.name} of the warehouse has {difference.actual}, but "
                    f"{difference.declared} is declared. "
                    "Restore it, or migrate an empty database and run `totes replay`."
                )
            yield difference


def _read_tables(connection: Connection[Any], star: Star) -> dict[str, WarehouseTable]:
    """Return the star tables that the warehouse has, by name."""
    tables: dict[str, WarehouseTable] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(
            read_sql(__package__, "catalogue.sql"), {"tables": list(star.tables)}
        ):
            name, key = row.pop("table_name"), row.pop("key")
            table = tables.setdefault(name, WarehouseTable({}, tuple(key)))
            table.columns[row["name"]] = WarehouseColumn(**row)
    return tables


def _apply_migration(connection: Connection[Any], name: str) -> bool:
    """Apply one migration in a transaction; return false if it was applied before."""
    with connection.transaction():
        connection.execute(_LOCK)
        applied = _read_applied(connection)
        _check_not_newer(applied)
        if name in applied:
            return False
        try:
            connection.execute(read_sql(__package__, f"migrations/{name}"))
        except errors.DependentObjectsStillExist as error:
            raise WarehouseError(
                f"Migration {name} failed: {message(error)}. "
                "Drop the dependent objects, run `totes warehouse migrate`, and create them again."
            ) from error
        connection.execute("INSERT INTO totes.migrations (name) VALUES (%s)", [name])
        reach("migrate.before-commit")
    reach("migrate.committed")
    return True


def _read_applied(connection: Connection[Any]) -> set[str]:
    if connection.execute("SELECT to_regclass('totes.migrations')").fetchone() == (None,):
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM totes.migrations")}


def _check_not_newer(applied: set[str]) -> None:
    if unknown := sorted(applied - set(_list_migrations())):
        raise WarehouseError(
            f"Migration {unknown[-1]} of the warehouse is newer than this program: "
            "upgrade terrific-totes."
        )


def _create_reader_role(connection: Connection[Any]) -> None:
    if _has_reader_role(connection):
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
        return  # created at the same time for another database of this server


def _has_reader_role(connection: Connection[Any]) -> bool:
    return connection.execute("SELECT to_regrole(%s)", [READER]).fetchone() != (None,)


def _list_migrations() -> list[str]:
    """Return the names of this program's migrations in order."""
    folder = files("totes.warehouse") / "migrations"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
