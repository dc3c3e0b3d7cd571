"""Statements in a database, for tests."""

from typing import Any

import psycopg
from psycopg import sql

from totes.config.settings import Dsn


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
