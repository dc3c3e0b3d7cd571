"""The views and functions of the warehouse, as DuckDB's SQL: statements for it also run here."""

from collections.abc import Iterator

from totes.sql_text import quote, read_sql
from totes.star.contract import StarTable
from totes.star.folder import TOTESYS

_IS_VALID = (
    "valid_from <= moment::timestamptz AND (valid_to IS NULL OR valid_to > moment::timestamptz)"
)


def warehouse_views() -> str:
    """Return the statements that create them over the tables of a replica."""
    declared = (view for table in TOTESYS.tables.values() for view in _views_and_function(table))
    return "".join(declared) + read_sql(__package__, "functions.sql")


def _views_and_function(star: StarTable) -> Iterator[str]:
    rows = f"SELECT * EXCLUDE (valid_from, valid_to) FROM {quote(star.name)}"
    if view := star.current_view:
        yield f"CREATE TEMP VIEW {quote(view.name)} AS {rows} WHERE valid_to IS NULL;\n"
    if view := star.all_view:
        yield f"CREATE TEMP VIEW {quote(view.name)} AS {rows};\n"
    if function := star.as_of_function:
        name = quote(function.name)
        yield f"CREATE TEMP MACRO {name}(moment) AS TABLE {rows} WHERE {_IS_VALID};\n"
