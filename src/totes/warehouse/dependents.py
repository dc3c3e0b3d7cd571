"""Objects that users create on the warehouse's tables: loads keep them, or report which block them.

Tables, primary keys and views are never dropped, so most objects are not affected. A rebuild
replaces all rows; it keeps the values of columns that users added, and users' foreign keys. Objects
with which PostgreSQL does not allow a load are reported before the load begins.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection, errors, sql

from totes.errors import WarehouseError
from totes.postgres.sqlstate import is_row_security, message
from totes.star.contract import StarTable
from totes.star.folder import Star
from totes.warehouse.ddl import warehouse_columns
from totes.warehouse.statement import read_statement, statement

_BOOKKEEPING = ("batches", "checks", "quarantine", "deleted_dimension_rows")


def loaded_tables(star: Star) -> list[str]:
    """Return every table that a load writes, in the order in which dashboard pages read them.

    `totes.verifications` is not among them: the result of the last verify survives a rebuild.
    """
    return [*(f"totes.{name}" for name in _BOOKKEEPING), *star.tables]


UserColumns = Mapping[str, Sequence[str]]
"""Columns whose values a rebuild keeps, by star table."""


class BlockingObject(NamedTuple):
    """An object that blocks loads, or only rebuilds, with the remedy."""

    description: str
    remedy: str
    blocks_only_rebuilds: bool = False


def find_blocking_objects(connection: Connection[Any], star: Star) -> list[BlockingObject]:
    """Return the objects that block loads or rebuilds; changes nothing."""
    with connection.transaction(force_rollback=True):
        connection.execute(read_statement("transaction_settings"))
        query = statement(
            "blocking_objects",
            tables=loaded_tables(star),
            stars=list(star.tables),
            facts=[table.name for table in star.tables.values() if table.is_fact],
            columns=_declared_columns(star),
        )
        objects = [BlockingObject(*row) for row in connection.execute(query)]
        return objects + _find_by_explain(connection, star)


def check_no_blocking_objects(connection: Connection[Any], star: Star, *, rebuild: bool) -> None:
    """Raise WarehouseError if an object blocks a load, or a rebuild."""
    for blocking in find_blocking_objects(connection, star):
        if rebuild or not blocking.blocks_only_rebuilds:
            raise WarehouseError(
                f"The warehouse can't be {'rebuilt' if rebuild else 'loaded'}: "
                f"{blocking.description}. {blocking.remedy}; then run again. "
                "`totes check` lists such objects."
            )


def delete_all_rows(connection: Connection[Any], star: Star) -> UserColumns:
    """Delete all rows in the caller's transaction; return the columns for `restore_user_columns`.

    Tables are locked in the order in which dashboard pages read them, so the two can't deadlock.
    """
    connection.execute(read_statement("transaction_settings"))
    user_columns = _save_user_columns(connection, star)
    tables = sql.SQL(", ").join(map(_identifier, loaded_tables(star)))
    if connection.execute(_user_foreign_keys(star)).fetchone() is None:
        identity = sql.SQL("CONTINUE" if user_columns else "RESTART")
        connection.execute(sql.SQL("TRUNCATE {} {} IDENTITY").format(tables, identity))
        return user_columns
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
    for table in reversed(loaded_tables(star)):  # facts before the dimensions that they refer to
        connection.execute(sql.SQL("DELETE FROM {}").format(_identifier(table)))
    return user_columns


def restore_user_columns(
    connection: Connection[Any], star: Star, user_columns: UserColumns
) -> None:
    """Restore the values of users' columns, and check users' foreign keys."""
    for name, columns in user_columns.items():
        key = _key_columns(star.tables[name])
        connection.execute(
            statement(
                "restore_user_columns",
                star=sql.Identifier(name),
                saved=_saved_table(name),
                user_columns=_join_columns(columns),
                values=_join_columns(columns, "saved"),
                rebuilt_key=_join_columns(key, "rebuilt"),
                saved_key=_join_columns(key, "saved"),
            )
        )
    check_user_foreign_keys(connection, star)


def check_user_foreign_keys(connection: Connection[Any], star: Star) -> None:
    """Raise WarehouseError if a user's foreign key refers to a row that no longer exists."""
    for name, table, referenced, query in connection.execute(_user_foreign_keys(star)).fetchall():
        if connection.execute(query).fetchone() is not None:
            raise WarehouseError(
                f"Foreign key {name} of {table} would refer to rows of {referenced} that no longer "
                "exist: delete its rows, or drop the constraint, then run again."
            )


def _find_by_explain(connection: Connection[Any], star: Star) -> list[BlockingObject]:
    """Return the first statement that PostgreSQL does not allow, with its message."""
    query = statement("explain_changes", tables=loaded_tables(star))
    [(script,)] = connection.execute(query).fetchall()
    try:
        with connection.transaction():
            connection.execute(script)
    except (
        errors.FeatureNotSupported,
        errors.InsufficientPrivilege,
        errors.InvalidColumnReference,
        errors.ObjectNotInPrerequisiteState,
    ) as error:
        if isinstance(error, errors.InsufficientPrivilege) and not is_row_security(error):
            raise  # a missing privilege, not an object that blocks the load
        if isinstance(error, errors.InvalidColumnReference):  # it does not name the publication
            [(remedy,)] = connection.execute(_PUBLICATIONS).fetchall()
        else:
            remedy = error.diag.message_hint or "Drop or alter that object"
        return [BlockingObject(message(error), remedy.rstrip("."))]
    return []


_PUBLICATIONS = """
SELECT 'Drop or alter publication ' || string_agg(DISTINCT quote_ident(pubname), ' or ')
FROM pg_publication_tables WHERE rowfilter IS NOT NULL
    OR cardinality(attnames) < (
        SELECT count(*) FROM pg_attribute
        WHERE attrelid = format('%I.%I', schemaname, tablename)::regclass
            AND attnum > 0 AND NOT attisdropped
    )
"""


def _save_user_columns(connection: Connection[Any], star: Star) -> UserColumns:
    query = statement(
        "user_columns",
        tables=loaded_tables(star),
        stars=list(star.tables),
        columns=_declared_columns(star),
        surrogates=[table.surrogate.name for table in star.tables.values() if table.surrogate],
    )
    user_columns = dict(connection.execute(query).fetchall())
    for name, columns in user_columns.items():
        connection.execute(
            statement(
                "save_user_columns",
                saved=_saved_table(name),
                star=sql.Identifier(name),
                key=_join_columns(_key_columns(star.tables[name])),
                user_columns=_join_columns(columns),
            )
        )
    return user_columns


def _user_foreign_keys(star: Star) -> sql.Composed:
    return statement("user_foreign_keys", tables=loaded_tables(star))


def _declared_columns(star: Star) -> list[str]:
    """Return `table.column` for all declared columns."""
    return [
        f"{table.name}.{column.name}"
        for table in star.tables.values()
        for column in warehouse_columns(table)
    ]


def _key_columns(star: StarTable) -> list[str]:
    return [*star.key_names, "valid_from"] if star.is_fact else [*star.key_names]


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _saved_table(name: str) -> sql.Identifier:
    return sql.Identifier(f"saved_{name}")


def _join_columns(columns: Sequence[str], relation: str = "") -> sql.Composed:
    qualifier = (relation,) if relation else ()
    return sql.SQL(", ").join(sql.Identifier(*qualifier, column) for column in columns)
