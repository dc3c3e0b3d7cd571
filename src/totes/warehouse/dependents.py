"""Objects that users build on the warehouse: no load fails because of them, and none loses them.

Tables, primary keys and views are never dropped, so most objects are safe. A rebuild replaces rows
that users' foreign keys refer to, and that have values in users' columns: it keeps both. Objects
with which PostgreSQL allows no load are named before the load begins.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import Connection, errors, sql

from totes.errors import WarehouseError
from totes.postgres.sqlstate import is_row_security, message
from totes.star.contract import StarTable
from totes.star.definition import Star
from totes.warehouse import daily
from totes.warehouse.ddl import warehouse_columns
from totes.warehouse.statement import read, statement

_BOOKKEEPING = ("batches", "checks", "verifications", "quarantine", "deleted_dimension_rows")


def tables_of(star: Star) -> list[str]:
    """Every table that a load writes, those that pages read first at the beginning."""
    return [*(f"totes.{name}" for name in (*_BOOKKEEPING, *daily.NAMES)), *star.tables]


Added = Mapping[str, Sequence[str]]
"""Columns whose values a rebuild keeps, by star table."""


class Obstacle(NamedTuple):
    """An object that stops a load, or `only_rebuild`, and what to do about it."""

    found: str
    remedy: str
    only_rebuild: bool = False


def obstacles(connection: Connection[Any], star: Star) -> list[Obstacle]:
    """The objects that stop a load or a rebuild. Changes nothing."""
    with connection.transaction(force_rollback=True):
        connection.execute(read("tune"))
        query = statement(
            "obstacles",
            tables=tables_of(star),
            stars=list(star.tables),
            facts=[table.name for table in star.tables.values() if table.is_fact],
            columns=_known_columns(star),
        )
        found = [Obstacle(*row) for row in connection.execute(query)]
        return found + _refused_by_explain(connection, star)


def refuse(connection: Connection[Any], star: Star, *, rebuild: bool) -> None:
    """WarehouseError where an object stops a load, or a rebuild."""
    for obstacle in obstacles(connection, star):
        if rebuild or not obstacle.only_rebuild:
            raise WarehouseError(
                f"The warehouse can't be {'rebuilt' if rebuild else 'loaded'}: {obstacle.found}. "
                f"{obstacle.remedy}; then run again. `totes check` lists such objects."
            )


def empty(connection: Connection[Any], star: Star) -> Added:
    """Delete all rows, within the caller's transaction; returns what `restore` needs afterwards.

    Batches come first since the dashboard's pages read them first, too: in the same order, the two
    can't deadlock.
    """
    connection.execute(read("tune"))
    added = _keep(connection, star)
    tables = sql.SQL(", ").join(map(_identifier, tables_of(star)))
    if connection.execute(_references(star)).fetchone() is None:
        identity = sql.SQL("CONTINUE" if added else "RESTART")
        connection.execute(sql.SQL("TRUNCATE {} {} IDENTITY").format(tables, identity))
        return added
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(tables))
    for table in reversed(tables_of(star)):  # facts before the dimensions that they refer to
        connection.execute(sql.SQL("DELETE FROM {}").format(_identifier(table)))
    return added


def restore(connection: Connection[Any], star: Star, added: Added) -> None:
    """Put the values of users' columns back, and check users' foreign keys."""
    for name, columns in added.items():
        key = _key(star.tables[name])
        connection.execute(
            statement(
                "restore_added",
                star=sql.Identifier(name),
                kept=_kept(name),
                added=_list(columns),
                values=_list(columns, "kept"),
                made_key=_list(key, "made"),
                kept_key=_list(key, "kept"),
            )
        )
    check_references(connection, star)


def check_references(connection: Connection[Any], star: Star) -> None:
    """WarehouseError where a user's foreign key refers to a row that no longer exists."""
    for name, theirs, ours, unmatched in connection.execute(_references(star)).fetchall():
        if connection.execute(unmatched).fetchone() is not None:
            raise WarehouseError(
                f"Foreign key {name} of {theirs} would refer to rows of {ours} that no longer "
                "exist: delete its rows, or drop the constraint, then run again."
            )


def _refused_by_explain(connection: Connection[Any], star: Star) -> list[Obstacle]:
    """The first statement on the tables that PostgreSQL would refuse, with its message."""
    query = statement("explain_changes", tables=tables_of(star))
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
            raise  # a privilege is missing: no object stops the load
        if isinstance(error, errors.InvalidColumnReference):  # it does not name the publication
            [(remedy,)] = connection.execute(_PUBLICATIONS).fetchall()
        else:
            remedy = error.diag.message_hint or "Drop or alter that object"
        return [Obstacle(message(error), remedy.rstrip("."))]
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


def _keep(connection: Connection[Any], star: Star) -> Added:
    query = statement(
        "added_columns",
        tables=tables_of(star),
        stars=list(star.tables),
        columns=_known_columns(star),
        surrogates=[table.surrogate.name for table in star.tables.values() if table.surrogate],
    )
    added = dict(connection.execute(query).fetchall())
    for name, columns in added.items():
        connection.execute(
            statement(
                "keep_added",
                kept=_kept(name),
                star=sql.Identifier(name),
                key=_list(_key(star.tables[name])),
                added=_list(columns),
            )
        )
    return added


def _references(star: Star) -> sql.Composed:
    return statement("references", tables=tables_of(star))


def _known_columns(star: Star) -> list[str]:
    """`table.column` of all that is declared."""
    return [
        f"{table.name}.{column.name}"
        for table in star.tables.values()
        for column in warehouse_columns(table)
    ]


def _key(star: StarTable) -> list[str]:
    return [*star.key_names, "valid_from"] if star.is_fact else [*star.key_names]


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _kept(name: str) -> sql.Identifier:
    return sql.Identifier(f"kept_{name}")


def _list(columns: Sequence[str], relation: str = "") -> sql.Composed:
    qualifier = (relation,) if relation else ()
    return sql.SQL(", ").join(sql.Identifier(*qualifier, column) for column in columns)
