"""The models: one SQL file for each star table, and what each of them reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from pydantic import TypeAdapter

from totes.errors import ModelError
from totes.lake.manifest import Manifest, digest
from totes.star.contract import StarTable
from totes.star.lineage import Lineage, find_lineage

LINEAGE_FILE = "lineage.json"

LINEAGES = TypeAdapter(dict[str, Lineage])
"""What models read, by the digest of their SQL."""


@dataclass(frozen=True)
class Model:
    """The SQL that makes the text of a star table's rows."""

    star: StarTable
    sql: str
    lineage: Lineage

    @property
    def name(self) -> str:
        """Name of the star table that the model makes."""
        return self.star.name

    @property
    def can_backfill(self) -> bool:
        """Whether it can make up for batches it left out.

        It can where the rows of all it reads are kept, or its only table is captured whole again.
        """
        sources = self.lineage.sources
        return len(sources) == 1 or sources.keys() <= set(self.lineage.joins)

    def identifies_deletes(self, manifest: Manifest) -> bool:
        """Whether a batch's deleted source rows can be identified by the model's natural key."""
        key = self.lineage.key
        if key is None:
            return False
        table = manifest.table(key.table)
        return table is not None and set(table.key) == set(key.columns)

    def check(self, manifest: Manifest) -> None:
        """ModelError where a batch's source lacks what the model needs."""
        if obstacle := self.obstacle(manifest):
            raise ModelError(obstacle)

    def obstacle(self, manifest: Manifest) -> str | None:
        """What a batch's source lacks that the model needs, in a sentence; None if nothing."""
        failing = f"Model {self.name} can't run on batch {manifest.batch}"
        remedy = "Restore it there, or change the model: the next run continues with this batch."
        for name, columns in self.lineage.sources.items():
            table = manifest.table(name)
            if table is None and (reason := manifest.left_out.get(name)):
                return f"{failing}: {name} of the source is left out: {reason}. {remedy}"
            if table is None:
                return f"{failing}: the source has no table {name}. {remedy}"
            present = {column.name for column in table.columns}
            for column in columns:
                if column not in present:
                    return f"{failing}: the source has no column {name}.{column}. {remedy}"
            key = self.lineage.key
            if key and key.table == name and set(table.key) != set(key.columns):
                found = f"is ({', '.join(table.key)})" if table.key else "was dropped"
                return (
                    f"{failing}: it identifies rows by {name}.{', '.join(key.columns)}, but the "
                    f"primary key of that table {found}. {remedy}"
                )
        return None


@dataclass(frozen=True)
class Models:
    """All models, in the order of the declaration."""

    all: tuple[Model, ...]
    digest: str
    """SHA-256 of the models and the declaration."""

    @property
    def tables(self) -> frozenset[str]:
        """Source tables that models read."""
        return frozenset(table for model in self.all for table in model.lineage.sources)

    @property
    def joined(self) -> frozenset[str]:
        """Source tables whose current rows are kept, because a model joins them."""
        return frozenset(table for model in self.all for table in model.lineage.joins)

    def columns(self, table: str) -> frozenset[str]:
        """The columns of a source table that models read."""
        return frozenset(
            name for model in self.all for name in model.lineage.sources.get(table, ())
        )

    def reading_star(self, tables: Iterable[str]) -> tuple[Model, ...]:
        """The models that read any of these star tables."""
        names = frozenset(tables)
        return tuple(model for model in self.all if names & set(model.lineage.stars))


def load_models(folder: Traversable, tables: Mapping[str, StarTable]) -> Models:
    """The models in `folder`; ModelError names one that is missing or can't be parsed."""
    kept = folder / LINEAGE_FILE
    known = LINEAGES.validate_json(kept.read_bytes()) if kept.is_file() else {}
    models = tuple(_load(table, tables, folder, known) for table in tables.values())
    content = repr([(model.star, model.sql) for model in models])
    return Models(models, digest(content.encode()))


def lineages(models: Models) -> bytes:
    """The content of `lineage.json`, which saves the packaged models SQLGlot's import."""
    found = {digest(model.sql.encode()): model.lineage for model in models.all}
    return LINEAGES.dump_json(found, indent=1) + b"\n"


def _load(
    table: StarTable,
    tables: Mapping[str, StarTable],
    folder: Traversable,
    known: Mapping[str, Lineage],
) -> Model:
    file = folder / f"{table.name}.sql"
    if not file.is_file():
        raise ModelError(f"Model {table.name} is missing: there is no {file}.")
    sql = file.read_text(encoding="utf-8")
    lineage = known.get(digest(sql.encode())) or find_lineage(
        table.name, sql, key=table.key_names, stars=tables.keys()
    )
    return Model(table, sql, lineage)
