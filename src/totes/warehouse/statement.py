"""The loader's SQL, one file for each statement."""

from functools import cache
from importlib.resources import files

from psycopg import sql


def statement(name: str, /, **parts: object) -> sql.Composed:
    """The statement of that file: values become literals, identifiers are composed."""
    return sql.SQL(read(name)).format(**parts)


@cache
def read(name: str) -> str:
    return (files("totes.warehouse") / "statements" / f"{name}.sql").read_text(encoding="utf-8")
