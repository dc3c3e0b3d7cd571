"""The SQL of loads: one file for each statement."""

from functools import cache
from importlib.resources import files

from psycopg import sql


def statement(name: str, /, **parts: object) -> sql.Composed:
    """Return the statement in `statements/{name}.sql`; values become literals."""
    return sql.SQL(read_statement(name)).format(**parts)


@cache
def read_statement(name: str) -> str:
    """Return the text of `statements/{name}.sql`."""
    return (files("totes.warehouse") / "statements" / f"{name}.sql").read_text(encoding="utf-8")
