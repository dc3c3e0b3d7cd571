"""The DDL of totesys, which ships with the package."""

from importlib.resources import files
from pathlib import Path

_CHECKOUT = Path(__file__).parents[3] / "data" / "totesys.sql"


def totesys_sql() -> str:
    """The script that creates totesys in an empty database, as one string of many statements."""
    shipped = files("totes.embedded") / "totesys.sql"
    return (shipped if shipped.is_file() else _CHECKOUT).read_text(encoding="utf-8")
