"""The models: one SQL file for each star table, with the tables and columns that it reads."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from pydantic import TypeAdapter

from totes.errors import ModelError
from totes.lake.line import AT
from totes.lake.manifest import Manifest, sha256_hex
from totes.star.contract import StarTable
from totes.star.lineage import Lineage, find_lineage

LINEAGE_FILE = "lineage.json"

LINEAGES = TypeAdapter(dict[str, Lineage])
"""Lineage of models by the SHA-256 of their SQL."""


@dataclass(frozen=True)
class Model:
    """The SQL that returns the rows of a star table, as text."""

    star: StarTable
    sql: str
    lineage: Lineage

    @property
    def name(self) -> str:
        """Name of the model and of its star table."""
        return self.star.name

    @property
    def can_backfill(self) -> bool:
        """Whether the model can be backfilled for batches in which it could not run.

        It can if the current rows of all its tables are kept, or if it reads only one table, which
        is then captured in full.
        """
        sources = self.lineage.sources
        return len(sources) == 1 or sources.keys() <= set(self.lineage.joins)

    def identifies_deletes(self, manifest: Manifest) -> bool:
        """Return whether the model's natural key identifies a batch's deleted source rows."""
        key = self.lineage.key
        if key is None:
            return False
        table = manifest.table(key.table)
        return table is not None and set(table.key) == set(key.columns)

    def check(self, manifest: Manifest) -> None:
        """Raise ModelError if a table or column that the model reads is missing in a batch."""
        if message := self.missing_input_message(manifest):
            raise ModelError(message)

    def missing_input_message(self, manifest: Manifest) -> str | None:
        """Return an error message if a batch lacks a table or column that the model reads."""
        failing = f"Model {self.name} can't run on batch {manifest.batch}"
        remedy = "Restore it, or change the model; the next run continues with this batch."
        for name in self.lineage.supplied:
            if manifest.table(name) is not None:
                return (
                    f"{failing}: it reads {name}, which is a relation that the platform supplies "
                    f"and a table of the source. Exclude that table (TOTES_EXCLUDE_TABLES)."
                )
        for name, columns in self.lineage.sources.items():
            table = manifest.table(name)
            if table is None and (reason := manifest.left_out.get(name)):
                return f"{failing}: source table {name} is not captured: {reason}. {remedy}"
            if table is None:
                return f"{failing}: the source has no table {name}. {remedy}"
            present = {column.name for column in table.columns}
            for column in columns:
                if column not in present:
                    return f"{failing}: the source has no column {name}.{column}. {remedy}"
            key = self.lineage.key
            if key and key.table == name and set(table.key) != set(key.columns):
                current = f"is ({', '.join(table.key)})" if table.key else "was dropped"
                return (
                    f"{failing}: it identifies rows by {name}.{', '.join(key.columns)}, but the "
                    f"primary key of that table {current}. {remedy}"
                )
        return None


@dataclass(frozen=True)
class Models:
    """All models, in the order of the declared tables."""

    all: tuple[Model, ...]
    digest: str
    """SHA-256 of the models and the declaration."""

    @property
    def tables(self) -> frozenset[str]:
        """The source tables that models read."""
        return frozenset(table for model in self.all for table in model.lineage.sources)

    @property
    def joined_tables(self) -> frozenset[str]:
        """The source tables that a model joins; their current rows are kept in the lake."""
        return frozenset(table for model in self.all for table in model.lineage.joins)

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a source table that models read."""
        return frozenset(
            name for model in self.all for name in model.lineage.sources.get(table, ())
        )

    def find_dependents(self, tables: Iterable[str]) -> tuple[Model, ...]:
        """Return the models that read any of these star tables."""
        names = frozenset(tables)
        return tuple(model for model in self.all if names & set(model.lineage.stars))


def load_models(folder: Traversable, tables: Mapping[str, StarTable]) -> Models:
    """Return the models in `folder`; raises ModelError if one is missing or can't be parsed."""
    file = folder / LINEAGE_FILE
    cached = LINEAGES.validate_json(file.read_bytes()) if file.is_file() else {}
    models = tuple(_load_model(table, tables, folder, cached) for table in tables.values())
    content = repr([(model.star, model.sql) for model in models])
    return Models(models, sha256_hex(content.encode()))


def dump_lineages(models: Models) -> bytes:
    """Return the content of `lineage.json`, which makes importing SQLGlot unnecessary."""
    by_digest = {sha256_hex(model.sql.encode()): model.lineage for model in models.all}
    return LINEAGES.dump_json(by_digest, indent=1) + b"\n"


def _load_model(
    table: StarTable,
    tables: Mapping[str, StarTable],
    folder: Traversable,
    cached: Mapping[str, Lineage],
) -> Model:
    file = folder / f"{table.name}.sql"
    if not file.is_file():
        raise ModelError(f"Model {table.name} is missing: create the file {file}.")
    sql = file.read_text(encoding="utf-8")
    lineage = cached.get(sha256_hex(sql.encode())) or find_lineage(
        table.name, sql, key=table.key_names, stars=tables.keys()
    )
    if lineage.selects_at and not table.is_fact:
        raise ModelError(
            f"Model {table.name} can't select {AT}: {table.name} is a dimension, which has only "
            "the latest version of a row."
        )
    return Model(table, sql, lineage)
