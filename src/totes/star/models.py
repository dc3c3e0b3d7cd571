"""The models: one SQL file for each star table, and what each of them reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel, ConfigDict, TypeAdapter

from totes.batch import Manifest, Table, digest
from totes.errors import ModelError
from totes.star.contract import STARS, Star

CHANGED = "_changed"
"""The flag that every relation has beside its source table's columns."""

ISO_CURRENCY = "iso_currency"
"""A relation that is no source table: `code` and `name` of the currencies of ISO 4217."""

LINEAGE = "lineage.json"


class Lineage(BaseModel):
    """Source columns by table, tables joined with others, and where the natural key comes from."""

    model_config = ConfigDict(frozen=True)

    reads: dict[str, tuple[str, ...]]
    joins: tuple[str, ...]
    key: tuple[str, str] | None


NOTES = TypeAdapter(dict[str, Lineage])
"""Lineages by the digest of the SQL they were found in."""


@dataclass(frozen=True)
class Model:
    """The SQL that makes the text of a star table's rows."""

    star: Star
    sql: str
    lineage: Lineage

    @property
    def name(self) -> str:
        return self.star.name

    def check(self, manifest: Manifest) -> None:
        """ModelError where a batch lacks a table or column that the model needs."""
        for name, columns in self.lineage.reads.items():
            if name == ISO_CURRENCY:
                continue
            table = manifest.table(name)
            if table is None:
                raise ModelError(
                    f"Model {self.name} can't run on batch {manifest.batch}: "
                    f"it needs table {name}, which the source has not."
                )
            for column in columns:
                if all(column != present.name for present in table.columns):
                    raise ModelError(
                        f"Model {self.name} can't run on batch {manifest.batch}: "
                        f"it needs column {name}.{column}, which the source has not. "
                        "Mend the model, then go on."
                    )
        if self.lineage.key is not None:
            name, column = self.lineage.key
            table = manifest.table(name)
            if table is not None and table.key not in {(), (column,)}:
                raise ModelError(
                    f"Model {self.name} can't run on batch {manifest.batch}: its rows are known by "
                    f"{name}.{column}, but that table's key is {', '.join(table.key)}."
                )


@dataclass(frozen=True)
class Models:
    """All models, in the order of the contract."""

    all: tuple[Model, ...]
    digest: str
    """SHA-256 of the models and the contract."""

    @property
    def tables(self) -> frozenset[str]:
        """Source tables that models read."""
        return frozenset(table for model in self.all for table in model.lineage.reads)

    @property
    def joined(self) -> frozenset[str]:
        """Source tables whose current rows are kept, because a model joins them."""
        return frozenset(table for model in self.all for table in model.lineage.joins)

    def columns(self, table: Table) -> tuple[str, ...]:
        """The columns of a source table that any model reads, in the table's order."""
        read = {name for model in self.all for name in model.lineage.reads.get(table.name, ())}
        return tuple(column.name for column in table.columns if column.name in read)

    def reading(self, tables: Iterable[str]) -> tuple[Model, ...]:
        """The models that read any of `tables`."""
        changed = frozenset(tables)
        return tuple(model for model in self.all if changed & model.lineage.reads.keys())


def load_models(folder: Traversable) -> Models:
    """The models in `folder`; ModelError names one that is missing or can't be understood."""
    notes = folder / LINEAGE
    known = NOTES.validate_json(notes.read_bytes()) if notes.is_file() else {}
    models = tuple(_load(star, folder / f"{star.name}.sql", known) for star in STARS.values())
    content = repr([(model.star, model.sql) for model in models])
    return Models(models, digest(content.encode()))


@cache
def shipped_models() -> Models:
    """The models that come with this program."""
    return load_models(files("totes.star") / "models")


def _load(star: Star, file: Traversable, known: dict[str, Lineage]) -> Model:
    if not file.is_file():
        raise ModelError(f"Model {star.name} is missing: there is no {file}.")
    sql = file.read_text(encoding="utf-8")
    lineage = known.get(digest(sql.encode()))
    if lineage is None:
        from totes.star.lineage import find_lineage  # noqa: PLC0415  SQLGlot is slow to import

        lineage = find_lineage(star, sql)
    return Model(star, sql, lineage)
