"""The declaration of a star: its tables, columns, types, keys, references and comments.

It is one TOML file, `star.toml`, beside the folders `models` and `verify`. Everything that must
know a column comes from it: the Parquet types and their checks, the warehouse's tables, views and
functions, the catalogue for Athena, the entity-relationship diagram and the data dictionary.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib.resources.abc import Traversable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from totes.errors import UsageError
from totes.star.contract import TYPES, Column, Named, StarTable

DECLARATION = "star.toml"

RESERVED = frozenset({"valid_from", "valid_to"})
"""Columns that the platform adds to facts."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Column(_Strict):
    type: str
    comment: str
    nullable: bool = False
    references: str | None = None
    missing: str = "is missing"


class _Named(_Strict):
    name: str
    comment: str


class _Table(_Strict):
    comment: str
    key: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    columns: dict[str, _Column]
    surrogate: _Named | None = None
    current_view: _Named | None = None
    all_view: _Named | None = None
    as_of_function: _Named | None = None
    indexes: dict[str, str] = {}
    in_source: bool = True

    def relations(self, name: str) -> list[str]:
        """The names that the table called `name` takes in the warehouse's schema."""
        views = (self.current_view, self.all_view, self.as_of_function)
        return [name, *self.indexes, *(view.name for view in views if view)]


_TABLES = TypeAdapter(dict[str, _Table])


def load_declaration(folder: Traversable) -> dict[str, StarTable]:
    """The star tables that `star.toml` in `folder` declares, dimensions before what refers to them.

    Raises UsageError with the file, the table and the column that is wrong.
    """
    file = folder / DECLARATION
    try:
        declared = _TABLES.validate_python(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{file}: {place}: {first['msg'].lower()}.") from error
    if problem := next(_problems(declared), None):
        raise UsageError(f"{file}: {problem}.")
    return {name: _table(name, declared[name]) for name in _ordered(declared)}


def _table(name: str, table: _Table) -> StarTable:
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
        surrogate=_named(table.surrogate),
        current_view=_named(table.current_view),
        all_view=_named(table.all_view),
        as_of_function=_named(table.as_of_function),
        indexes=tuple(table.indexes.items()),
        in_source=table.in_source,
    )


def _named(declared: _Named | None) -> Named | None:
    return Named(declared.name, declared.comment) if declared else None


def _ordered(declared: Mapping[str, _Table]) -> Iterator[str]:
    """Table names: those referred to before those that refer to them, else as declared."""
    sorter = TopologicalSorter(
        {
            name: [column.references for column in table.columns.values() if column.references]
            for name, table in declared.items()
        }
    )
    sorter.prepare()
    places = list(declared)
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=places.index)
        yield from ready
        sorter.done(*ready)


def _problems(declared: Mapping[str, _Table]) -> Iterator[str]:
    """What the shape alone does not exclude, each as the middle of a sentence."""
    if not declared:
        yield "no table is declared"
    for name, table in declared.items():
        yield from _table_problems(name, table)
        for column_name, column in table.columns.items():
            yield from _column_problems(f"{name}.{column_name}", column, declared)
    relations = [relation for name, table in declared.items() for relation in table.relations(name)]
    for twice in {one for one in relations if relations.count(one) > 1}:
        yield f"two tables, views, functions or indexes are named {twice}"
    try:
        list(_ordered(declared))
    except CycleError as error:
        yield f"references form a cycle: {' -> '.join(error.args[1])}"


def _table_problems(name: str, table: _Table) -> Iterator[str]:
    surrogate = [table.surrogate.name] if table.surrogate else []
    for wrong in [*table.relations(name), *table.columns, *surrogate]:
        if not _NAME.fullmatch(wrong):
            yield f"{name}: {wrong!r} is not a lower-case identifier of at most 63 letters"
    if len({table.surrogate is None, table.current_view is None, table.as_of_function is None}) > 1:
        yield f"{name}: a fact has surrogate, current_view and as_of_function, others have none"
    for column in {*RESERVED, *surrogate} & table.columns.keys():
        yield f"{name}.{column}: the platform adds a column of this name"
    for key in table.key:
        if key not in table.columns:
            yield f"{name}: key {key} is not one of its columns"
        elif table.columns[key].nullable:
            yield f"{name}: key {key} may not be nullable"


def _column_problems(place: str, column: _Column, declared: Mapping[str, _Table]) -> Iterator[str]:
    if column.type not in TYPES:
        yield f"{place}: there is no type {column.type!r}; use one of {', '.join(TYPES)}"
    if column.references is None:
        return
    target = declared.get(column.references)
    if target is None or target.surrogate is not None:
        yield f"{place}: {column.references} is not a declared dimension"
    elif len(target.key) != 1:
        yield f"{place}: {column.references} has a key of several columns, so none can refer to it"
    elif target.key[0] in target.columns and target.columns[target.key[0]].type != column.type:
        yield f"{place}: its type differs from that of the key of {column.references}"
