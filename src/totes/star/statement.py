"""The SQL of loads and publications: one file for each statement."""

from functools import cache
from importlib.resources import files

from psycopg import sql

from totes.sql_text import read_sql


def statement(package: str, name: str, /, **parts: object) -> sql.Composed:
    """Return the statement of a package and its name; values become literals."""
    return sql.SQL(read_statement(package, name)).format(**parts)


@cache
def read_statement(package: str, name: str) -> str:
    """Return the text of `statements/{name}.sql` in a package, or else in `totes.star`."""
    path = f"statements/{name}.sql"
    return read_sql(package if (files(package) / path).is_file() else "totes.star", path)
