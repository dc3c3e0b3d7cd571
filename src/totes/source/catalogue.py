"""What there is to ingest: the tables of a schema, found in PostgreSQL's catalogue."""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import psycopg

from totes.batch import Column
from totes.errors import SourceError

_QUERY = files(__package__).joinpath("catalogue.sql").read_text()

RESERVED_COLUMNS = frozenset({"_op", "_xid"})
"""Members of the ingestion files' lines that are not of the source."""

_INTEGERS = frozenset({"int2", "int4"})
_KINDS = {"p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table"}
_ORDINARY = frozenset({"r", "p"})


@dataclass(frozen=True)
class Scope:
    """Which tables to ingest."""

    schema: str = "public"
    exclude: tuple[str, ...] = ("_prisma_migrations",)


@dataclass(frozen=True)
class SourceColumn:
    """A column; `base` is the built-in type below its domains, empty for other types."""

    name: str
    type: str
    base: str
    nullable: bool

    @property
    def kind(self) -> Literal["integer", "boolean", "text"]:
        """How JSON holds its values."""
        if self.base in _INTEGERS:
            return "integer"
        return "boolean" if self.base == "bool" else "text"

    def published(self) -> Column:
        return Column(name=self.name, type=self.type, kind=self.kind, nullable=self.nullable)


@dataclass(frozen=True)
class SourceTable:
    """A table to ingest. `fingerprint` changes with all that can alter its rows unwritten."""

    schema: str
    name: str
    oid: int
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]
    partitioned: bool
    readable: bool
    fingerprint: str

    @property
    def key_columns(self) -> tuple[SourceColumn, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)


@dataclass(frozen=True)
class Catalogue:
    """The tables in scope, by name, and what was left out and why."""

    tables: tuple[SourceTable, ...]
    left_out: tuple[tuple[str, str], ...]


def read_catalogue(connection: psycopg.Connection, scope: Scope) -> Catalogue:
    """The catalogue as the connection's transaction sees it."""
    rows = connection.execute(_QUERY, {"schema": scope.schema}).fetchall()
    tables, left_out = [], []
    for (relation,) in rows:
        if reason := _reason_to_leave_out(relation, scope):
            left_out.append((str(relation["name"]), reason))
        else:
            tables.append(_table(scope.schema, relation))
    return Catalogue(tuple(tables), tuple(left_out))


def require_tables(catalogue: Catalogue, scope: Scope, user: str) -> None:
    """SourceError unless there is something to read and all of it can be carried."""
    if not catalogue.tables:
        raise SourceError(
            f"Schema {scope.schema!r} of the source has no tables to ingest: "
            "check TOTES_SOURCE_DSN, TOTES_SOURCE_SCHEMA and TOTES_EXCLUDE_TABLES."
        )
    if denied := [table.name for table in catalogue.tables if not table.readable]:
        raise SourceError(
            f"Role {user!r} may not read {', '.join(denied)} of the source. "
            f"Its owner can run: {grant(scope.schema, denied, user)}"
        )
    for table in catalogue.tables:
        for column in table.columns:
            if column.name in RESERVED_COLUMNS:
                raise SourceError(
                    f"Table {table.name} of the source has a column {column.name}, a name the "
                    "platform needs for itself: exclude the table (TOTES_EXCLUDE_TABLES)."
                )


def grant(schema: str, tables: list[str], user: str) -> str:
    """The GRANTs that let `user` read `tables`, to be run by their owner."""
    names = ", ".join(f"{_quoted(schema)}.{_quoted(name)}" for name in tables)
    return (
        f"GRANT USAGE ON SCHEMA {_quoted(schema)} TO {_quoted(user)}; "
        f"GRANT SELECT ON {names} TO {_quoted(user)};"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reason_to_leave_out(relation: dict[str, Any], scope: Scope) -> str | None:
    if relation["kind"] not in _ORDINARY:
        return _KINDS[relation["kind"]]
    if relation["persistence"] != "p":
        return "unlogged table" if relation["persistence"] == "u" else "temporary table"
    if relation["foreign"]:
        return "partitioned table with foreign or unlogged partitions"
    return "excluded by TOTES_EXCLUDE_TABLES" if relation["name"] in scope.exclude else None


def _table(schema: str, relation: dict[str, Any]) -> SourceTable:
    shape = {
        part: relation[part] for part in ("oid", "kind", "columns", "key", "types", "partitions")
    }
    return SourceTable(
        schema=schema,
        name=relation["name"],
        oid=relation["oid"],
        columns=tuple(
            SourceColumn(c["name"], c["type"], c["base"], c["nullable"])
            for c in relation["columns"]
        ),
        key=tuple(relation["key"]),
        partitioned=relation["kind"] == "p",
        readable=relation["readable"],
        fingerprint=hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest(),
    )
