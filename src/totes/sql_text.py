"""The text of SQL: names and strings in it, and the .sql files of the package."""

from functools import cache
from importlib.resources import files
from pathlib import Path


def quote(name: str) -> str:
    """Return a quoted SQL identifier for DuckDB or PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: Path | str) -> str:
    """Return an SQL string literal for DuckDB or PostgreSQL."""
    return "'" + str(text).replace("'", "''") + "'"


@cache
def read_sql(package: str, path: str) -> str:
    """Return the text of a .sql file in a package, or in a folder of it."""
    return (files(package) / path).read_text(encoding="utf-8")
