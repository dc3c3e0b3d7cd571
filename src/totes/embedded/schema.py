"""The DDL of totesys, which ships with the package."""

from importlib.resources import files
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3] / "data" / "totesys.sql"


def totesys_sql() -> str:
    """Return the SQL script that creates totesys in an empty database."""
    in_package = files("totes.embedded") / "totesys.sql"
    return (in_package if in_package.is_file() else _CHECKOUT).read_text(encoding="utf-8")
