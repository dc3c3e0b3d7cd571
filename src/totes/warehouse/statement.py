"""The SQL of loads: one file for each statement."""

from psycopg import sql

from totes.sql_text import read_sql


def statement(name: str, /, **parts: object) -> sql.Composed:
    """Return the statement in `statements/{name}.sql`; values become literals."""
    return sql.SQL(read_statement(name)).format(**parts)


def read_statement(name: str) -> str:
    """Return the text of `statements/{name}.sql`."""
    return read_sql(__package__, f"statements/{name}.sql")
