"""Statements in a database, for tests."""

from typing import Any

import psycopg
from psycopg import sql

from totes.config.dsn import Dsn


def fetch_rows(dsn: Dsn, query: str | sql.Composed, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query, with times in UTC."""
    with psycopg.connect(dsn.reveal(), options="-c TimeZone=UTC") as connection:
        if isinstance(query, str):
            return connection.execute(query.encode(), values or None).fetchall()
        return connection.execute(query).fetchall()


def execute(dsn: Dsn, *scripts: str) -> None:
    """Execute scripts, each in a transaction of its own."""
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        for script in scripts:
            connection.execute(script.encode())


def copy_database(server: Dsn, name: str, template: Dsn, *, reader: str) -> None:
    """Copy the database of the owner's DSN `template`, and its rights, which are not copied.

    The result is that of `prepare_source` and `prepare_warehouse`, which connect to the new
    database, too.
    """
    new, old, owner, role = (
        sql.Identifier(str(one))
        for one in (name, template.parts["dbname"], template.parts["user"], reader)
    )
    create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY")
    with psycopg.connect(server.reveal(), autocommit=True) as connection:
        connection.execute(create.format(new, owner, old))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(new))
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(new, role))


def drop_database(server: Dsn, database: str) -> None:
    """Drop a database, even if a failed test left connections."""
    with psycopg.connect(server.reveal(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database))
        )
