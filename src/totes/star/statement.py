"""The SQL of loads and publications: one file for each statement."""

from functools import cache
from importlib.resources import files

from psycopg import sql


def statement(package: str, name: str, /, **parts: object) -> sql.Composed:
    """Return the statement of a package and its name; values become literals."""
    return sql.SQL(read_statement(package, name)).format(**parts)


@cache
def read_statement(package: str, name: str) -> str:
    """Return the text of `statements/{name}.sql` in a package, or else in `totes.star`."""
    own, shared = (files(one) / "statements" / f"{name}.sql" for one in (package, "totes.star"))
    return (own if own.is_file() else shared).read_text(encoding="utf-8")
