"""The declaration of a star: its tables, columns, types, keys, references and comments.

It is one TOML file, `star.toml`, beside the folders `models` and `verify`. Everything else that
depends on columns is derived from it: the Parquet types and their checks, the warehouse's tables,
views and functions, the catalogue for Athena, the entity-relationship diagram and the data
dictionary.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources.abc import Traversable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from totes.errors import UsageError
from totes.lake.line import AT, OPERATION
from totes.lake.manifest import PARTITION
from totes.star.contract import TYPES, Column, NamedObject, StarTable

DECLARATION = "star.toml"

RESERVED = frozenset({"valid_from", "valid_to", OPERATION, AT, PARTITION, "_batch", "totes_batch"})
"""Columns that the platform adds to a star table, to its files, to their folders, or to the rows of
its model."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class _DeclarationModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Column(_DeclarationModel):
    type: str
    comment: str
    nullable: bool = False
    references: str | None = None
    missing: str = "is missing"


class _NamedObject(_DeclarationModel):
    name: str
    comment: str


class _Table(_DeclarationModel):
    comment: str
    key: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    columns: dict[str, _Column]
    surrogate: _NamedObject | None = None
    current_view: _NamedObject | None = None
    all_view: _NamedObject | None = None
    as_of_function: _NamedObject | None = None
    indexes: dict[str, str] = {}
    in_source: bool = True

    def relations(self, name: str) -> list[str]:
        """Return the names in the warehouse's schema that table `name` uses."""
        views = (self.current_view, self.all_view, self.as_of_function)
        return [name, *self.indexes, *(view.name for view in views if view)]


_TABLES = TypeAdapter(dict[str, _Table])


def load_declaration(folder: Traversable) -> dict[str, StarTable]:
    """Return the star tables that `folder/star.toml` declares, referenced tables first.

    Raises UsageError, which names file, table and column, if the declaration is invalid.
    """
    file = folder / DECLARATION
    try:
        tables = _TABLES.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{file}: {place}: {first['msg'].lower()}.") from error
    if problem := next(_find_problems(tables), None):
        raise UsageError(f"{file}: {problem}.")
    return {name: _to_star_table(name, tables[name]) for name in _sort_by_references(tables)}


def _to_star_table(name: str, table: _Table) -> StarTable:
    columns = tuple(
        Column(
            name=column_name,
            type=TYPES[column.type],
            nullable=column.nullable,
            references=column.references,
            missing=column.missing,
            comment=column.comment,
        )
        for column_name, column in table.columns.items()
    )
    return StarTable(
        name=name,
        comment=table.comment,
        columns=columns,
        key_names=table.key,
        surrogate=_to_named_object(table.surrogate),
        current_view=_to_named_object(table.current_view),
        all_view=_to_named_object(table.all_view),
        as_of_function=_to_named_object(table.as_of_function),
        indexes=tuple(table.indexes.items()),
        in_source=table.in_source,
    )


def _to_named_object(declared: _NamedObject | None) -> NamedObject | None:
    return NamedObject(declared.name, declared.comment) if declared else None


def _sort_by_references(tables: Mapping[str, _Table]) -> Iterator[str]:
    """Yield table names, referenced tables first, otherwise in the order of the declaration."""
    sorter = TopologicalSorter(
        {
            name: [column.references for column in table.columns.values() if column.references]
            for name, table in tables.items()
        }
    )
    sorter.prepare()
    names = list(tables)
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=names.index)
        yield from ready
        sorter.done(*ready)


def _find_problems(tables: Mapping[str, _Table]) -> Iterator[str]:
    """Yield the errors that the TOML schema can't express, as clauses without a full stop."""
    if not tables:
        yield "no table is declared"
    for name, table in tables.items():
        yield from _find_table_problems(name, table)
        for column_name, column in table.columns.items():
            yield from _find_column_problems(f"{name}.{column_name}", column, tables)
    relations = [relation for name, table in tables.items() for relation in table.relations(name)]
    for duplicate in {name for name in relations if relations.count(name) > 1}:
        yield f"two tables, views, functions or indexes are named {duplicate}"
    try:
        list(_sort_by_references(tables))
    except CycleError as error:
        yield f"references form a cycle: {' -> '.join(error.args[1])}"


def _find_table_problems(name: str, table: _Table) -> Iterator[str]:
    surrogate = [table.surrogate.name] if table.surrogate else []
    for identifier in [*table.relations(name), *table.columns, *surrogate]:
        if not _NAME.fullmatch(identifier):
            yield f"{name}: {identifier!r} is not a lower-case identifier of at most 63 characters"
    if len({table.surrogate is None, table.current_view is None, table.as_of_function is None}) > 1:
        yield (
            f"{name}: a fact needs surrogate, current_view and as_of_function; a dimension has none"
        )
    for column in {*RESERVED, *surrogate} & table.columns.keys():
        yield f"{name}.{column}: the name is reserved for a column that the platform adds"
    for column in table.columns:
        if column.startswith("_") and column not in RESERVED:
            yield (
                f"{name}.{column}: names that begin with _ are reserved for the platform and for "
                "Iceberg's metadata columns"
            )
    for key in table.key:
        if key not in table.columns:
            yield f"{name}: key column {key} is not declared"
        elif table.columns[key].nullable:
            yield f"{name}: key column {key} can't be nullable"


def _find_column_problems(
    place: str, column: _Column, tables: Mapping[str, _Table]
) -> Iterator[str]:
    if column.type not in TYPES:
        yield f"{place}: unknown type {column.type!r}; use one of {', '.join(TYPES)}"
    if column.references is None:
        return
    target = tables.get(column.references)
    if target is None or target.surrogate is not None:
        yield f"{place}: {column.references} is not a declared dimension"
    elif len(target.key) != 1:
        yield f"{place}: {column.references} has a composite key, which can't be referenced"
    elif target.key[0] in target.columns and target.columns[target.key[0]].type != column.type:
        yield f"{place}: its type differs from the type of the key of {column.references}"
