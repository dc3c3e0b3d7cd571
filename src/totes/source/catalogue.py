"""The tables to ingest: those of one schema, found in PostgreSQL's catalogue."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from totes.config.settings import DEFAULT_CONNECTIONS
from totes.errors import SourceError
from totes.lake.line import RESERVED_NAMES
from totes.lake.manifest import Column
from totes.sql_text import quote, read_sql

_QUERY = read_sql(__package__, "catalogue.sql")

_UNLOGGED = (
    "unlogged, and would be empty after a crash of the server: run ALTER TABLE … SET LOGGED to "
    "capture it"
)

INTEGER_TYPES = frozenset({"int2", "int4", "int8"})

_LITERAL_TYPES = INTEGER_TYPES - {"int8"}
"""Integer types that are numbers in JSON. int8 is a string: many parsers would round it."""

_EXCLUDED_KINDS = {
    "v": "it is a view, and only tables are captured",
    "m": "it is a materialized view, and only tables are captured",
    "f": "it is a foreign table, whose rows are on another server",
}


@dataclass(frozen=True)
class CaptureScope:
    """The schema whose tables are ingested, except those named in `exclude`.

    `connections` is the number of connections that read one snapshot.
    """

    schema: str = "public"
    exclude: tuple[str, ...] = ("_prisma_migrations",)
    connections: int = DEFAULT_CONNECTIONS


@dataclass(frozen=True)
class SourceColumn:
    """A column. `base` is its built-in type, below any domains; empty for other types."""

    name: str
    type: str
    base: str
    nullable: bool

    @property
    def kind(self) -> Literal["integer", "boolean", "text"]:
        """The JSON type of its values."""
        if self.base in _LITERAL_TYPES:
            return "integer"
        return "boolean" if self.base == "bool" else "text"

    def to_manifest(self) -> Column:
        """Return the column as the manifest describes it."""
        return Column(name=self.name, type=self.type, kind=self.kind, nullable=self.nullable)


@dataclass(frozen=True)
class SourceTable:
    """A table to ingest.

    `fingerprint` changes when a schema change may have altered values without writing the rows.
    `members` are the OIDs of the tables whose rows it includes: its partitions, or the tables that
    inherit from it.
    """

    schema: str
    name: str
    oid: int
    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...]
    partitioned: bool
    members: tuple[int, ...]
    readable: bool
    fingerprint: str

    @property
    def has_children(self) -> bool:
        """Whether other tables inherit from it; its key need not be unique across them."""
        return bool(self.members) and not self.partitioned

    @property
    def has_integer_key(self) -> bool:
        """Whether the table has a primary key whose columns are all integers."""
        return bool(self.key) and all(c.base in INTEGER_TYPES for c in self.key_columns)

    @property
    def key_columns(self) -> tuple[SourceColumn, ...]:
        """The columns of the primary key, in the key's order."""
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.key)


@dataclass(frozen=True)
class Catalogue:
    """The tables to ingest, by name, and the name of each excluded table with the reason."""

    tables: tuple[SourceTable, ...]
    excluded: tuple[tuple[str, str], ...]


def read_catalogue(connection: psycopg.Connection, scope: CaptureScope) -> Catalogue:
    """Return the catalogue as the connection's transaction sees it."""
    rows = connection.execute(_QUERY, {"schema": scope.schema}).fetchall()
    relations = {str(relation["name"]): relation for (relation,) in rows}
    tables, excluded = [], []
    for name, relation in relations.items():
        reason = _exclusion_reason(relation, scope)
        if not reason and (parent := _find_captured_parent(relation, relations, scope)):
            reason = f"it inherits from {parent}, and its rows are captured with that table"
        if reason:
            excluded.append((name, reason))
        else:
            tables.append(_make_table(scope.schema, relation))
    return Catalogue(tuple(tables), tuple(excluded))


def require_tables(catalogue: Catalogue, scope: CaptureScope, user: str) -> None:
    """Raise SourceError if there are no tables, or if one can't be read or stored."""
    if not catalogue.tables:
        raise SourceError(
            f"Schema {scope.schema!r} of the source has no tables to ingest: "
            "check TOTES_SOURCE_DSN, TOTES_SOURCE_SCHEMA and TOTES_EXCLUDE_TABLES."
        )
    if denied := [table.name for table in catalogue.tables if not table.readable]:
        raise SourceError(
            f"Role {user!r} may not read {', '.join(denied)} in the source. "
            f"Their owner can run: {grant_statements(scope.schema, denied, user)}"
        )
    for table in catalogue.tables:
        for column in table.columns:
            if column.name in RESERVED_NAMES:
                raise SourceError(
                    f"Table {table.name} of the source has a column {column.name}, a name that "
                    "the platform reserves: exclude the table (TOTES_EXCLUDE_TABLES)."
                )


def grant_statements(schema: str, tables: list[str], user: str) -> str:
    """Return the GRANT statements that let `user` read `tables`."""
    names = ", ".join(f"{quote(schema)}.{quote(name)}" for name in tables)
    return (
        f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(user)}; "
        f"GRANT SELECT ON {names} TO {quote(user)};"
    )


def _exclusion_reason(relation: dict[str, Any], scope: CaptureScope) -> str | None:
    if relation["name"] in scope.exclude:
        return "excluded by TOTES_EXCLUDE_TABLES"
    if relation["kind"] in _EXCLUDED_KINDS:
        return _EXCLUDED_KINDS[relation["kind"]]
    if relation["persistence"] == "u":
        return f"it is {_UNLOGGED}"
    for member in relation["members"]:
        if member["kind"] == "f":
            return f"some of its rows, in {member['name']}, are on another server"
        if member["persistence"] == "u":
            return f"some of its rows are in {member['name']}, which is {_UNLOGGED}"
    return None


def _find_captured_parent(
    relation: dict[str, Any], relations: Mapping[str, dict[str, Any]], scope: CaptureScope
) -> str | None:
    """Return the captured table that this one inherits from, if that table has all its columns.

    A child with more columns than its parent is captured as a separate table, too.
    """
    for name in relation["parents"]:
        parent = relations[name]
        has_all_columns = len(parent["columns"]) == len(relation["columns"])
        if has_all_columns and not _exclusion_reason(parent, scope):
            return _find_captured_parent(parent, relations, scope) or name
    return None


def _make_table(schema: str, relation: dict[str, Any]) -> SourceTable:
    definition = {part: relation[part] for part in ("oid", "kind", "columns", "key", "types")}
    definition["members"] = [(member["oid"], member["generated"]) for member in relation["members"]]
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
        members=tuple(member["oid"] for member in relation["members"]),
        readable=relation["readable"],
        fingerprint=hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest(),
    )
