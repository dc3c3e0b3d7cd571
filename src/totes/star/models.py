"""The models: one SQL file for each star table, and what each of them reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from pydantic import BaseModel, ConfigDict, TypeAdapter

from totes.batch import Manifest, digest
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
        """Name of the star table that the model makes."""
        return self.star.name

    @property
    def sources(self) -> dict[str, tuple[str, ...]]:
        """The columns it reads of each source table."""
        known = STARS.keys() | {ISO_CURRENCY}
        return {table: names for table, names in self.lineage.reads.items() if table not in known}

    @property
    def stars(self) -> frozenset[str]:
        """The star tables it reads: rows of the same batch."""
        return frozenset(STARS.keys() & self.lineage.reads.keys())

    @property
    def can_wait(self) -> bool:
        """Whether it can make up for batches it left out: what it reads is kept, or comes whole."""
        return len(self.sources) == 1 or self.sources.keys() <= set(self.lineage.joins)

    def tells_deletes(self, manifest: Manifest) -> bool:
        """Whether a batch may name deleted rows by the model's key, whatever else it lacks."""
        if self.lineage.key is None:
            return False
        table = manifest.table(self.lineage.key[0])
        return table is not None and table.key == (self.lineage.key[1],)

    def check(self, manifest: Manifest) -> None:
        """ModelError where a batch's source lacks what the model needs."""
        if obstacle := self.obstacle(manifest):
            raise ModelError(obstacle)

    def obstacle(self, manifest: Manifest) -> str | None:
        """What a batch's source lacks that the model needs, in a sentence; None if nothing."""
        failing = f"Model {self.name} can't run on batch {manifest.batch}"
        mend = "Mend totesys or the model: the next run goes on there."
        for name, columns in self.sources.items():
            table = manifest.table(name)
            if table is None and (reason := manifest.left_out.get(name)):
                return f"{failing}: {name} of the source is left out: {reason}. {mend}"
            if table is None:
                return f"{failing}: the source has no table {name}. {mend}"
            present = {column.name for column in table.columns}
            for column in columns:
                if column not in present:
                    return f"{failing}: the source has no column {name}.{column}. {mend}"
            if self.lineage.key and self.lineage.key[0] == name:
                key = self.lineage.key[1]
                if table.key != (key,):
                    found = f"is {', '.join(table.key)}" if table.key else "was dropped"
                    return (
                        f"{failing}: it knows rows by {name}.{key}, but the primary key of that "
                        f"table {found}. {mend}"
                    )
        return None


@dataclass(frozen=True)
class Models:
    """All models, in the order of the contract."""

    all: tuple[Model, ...]
    digest: str
    """SHA-256 of the models and the contract."""

    @property
    def tables(self) -> frozenset[str]:
        """Source tables that models read."""
        return frozenset(table for model in self.all for table in model.sources)

    @property
    def joined(self) -> frozenset[str]:
        """Source tables whose current rows are kept, because a model joins them."""
        return frozenset(table for model in self.all for table in model.lineage.joins)

    def columns(self, table: str) -> frozenset[str]:
        """The columns of a source table that models read."""
        return frozenset(name for model in self.all for name in model.sources.get(table, ()))

    def reading(self, tables: Iterable[str]) -> tuple[Model, ...]:
        """The models that read any of `tables`, source or star."""
        names = frozenset(tables)
        return tuple(model for model in self.all if names & model.lineage.reads.keys())


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
