"""A star in one folder: its declaration, its models, and the SQL that verifies it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable

from totes.errors import UsageError
from totes.star.contract import StarTable
from totes.star.declaration import load_declaration
from totes.star.models import Models, load_models

FUNCTIONS_FILE = "functions.sql"


@dataclass(frozen=True)
class Star:
    """What `star.toml`, `models/*.sql`, `verify/*.sql` and `functions.sql` in a folder say.

    `functions.sql` is optional. `tables` are in an order in which each can be filled.
    """

    folder: Traversable
    tables: Mapping[str, StarTable]

    @cached_property
    def models(self) -> Models:
        """Raises ModelError where a model is missing or can't be parsed."""
        return load_models(self.folder / "models", self.tables)

    @property
    def functions(self) -> str:
        """SQL run after every upgrade of the warehouse, empty where there is none."""
        file = self.folder / FUNCTIONS_FILE
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def verify_sql(self, table: str) -> str:
        """The query of the source whose rows a star table must equal."""
        file = self.folder / "verify" / f"{table}.sql"
        if not file.is_file():
            raise UsageError(f"{table} can't be verified: there is no {file}.")
        return file.read_text(encoding="utf-8")


def load_star(folder: Traversable) -> Star:
    """The star that a folder declares; UsageError where its declaration is wrong."""
    return Star(folder, load_declaration(folder))


TOTESYS = load_star(files("totes.star") / "totesys")
"""The star that comes with this program."""
