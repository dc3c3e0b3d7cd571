"""A star, read from one folder: declaration, models, and the SQL that verify runs."""

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
    """A folder with `star.toml`, `models/*.sql`, `verify/*.sql` and, optionally, `functions.sql`.

    `tables` are the declared tables by name, referenced tables first.
    """

    folder: Traversable
    tables: Mapping[str, StarTable]

    @cached_property
    def models(self) -> Models:
        """The models; raises ModelError if one is missing or can't be parsed."""
        return load_models(self.folder / "models", self.tables)

    @property
    def functions(self) -> str:
        """The SQL that runs after every upgrade of the warehouse; empty if there is none."""
        file = self.folder / FUNCTIONS_FILE
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def verify_sql(self, table: str) -> str:
        """Return the query on the source whose rows must equal the rows of a star table.

        Raises UsageError if there is none.
        """
        file = self.folder / "verify" / f"{table}.sql"
        if not file.is_file():
            raise UsageError(f"Table {table} can't be verified: the file {file} is missing.")
        return file.read_text(encoding="utf-8")


def load_star(folder: Traversable) -> Star:
    """Return the star in a folder; raises UsageError if its declaration is invalid."""
    return Star(folder, load_declaration(folder))


TOTESYS = load_star(files("totes.star") / "totesys")
"""The packaged star, for totesys."""
