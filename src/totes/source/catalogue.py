"""What there is to ingest: the tables of a schema, found in PostgreSQL's catalogue."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

import psycopg

from totes.errors import SourceError
from totes.lake.manifest import Column

_QUERY = files(__package__).joinpath("catalogue.sql").read_text()

RESERVED_COLUMNS = frozenset({"_op", "_xid"})
"""Members of the ingestion files' lines that are not of the source."""

_UNLOGGED = "unlogged, so that a crash empties it: it can be captured after ALTER TABLE SET LOGGED"

_INTEGERS = frozenset({"int2", "int4"})
_UNFOLLOWED = {
    "v": "it is a view, and only tables are captured",
    "m": "it is a materialized view, and only tables are captured",
    "f": "it is a foreign table, whose rows are on another server",
}


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
    """A table to ingest. `fingerprint` changes with all that can alter its rows unwritten.

    `members` are the OIDs of the other tables whose rows belong to it: its partitions, or the
    tables that inherit from it.
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
    def inherited(self) -> bool:
        """Whether other tables inherit from it: then its key need not be unique in all of them."""
        return bool(self.members) and not self.partitioned

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
    relations = {str(relation["name"]): relation for (relation,) in rows}
    tables, left_out = [], []
    for name, relation in relations.items():
        reason = _reason_to_leave_out(relation, scope)
        if not reason and (parent := _captured_with(relation, relations, scope)):
            reason = f"it inherits from {parent}, and its rows are captured with that table"
        if reason:
            left_out.append((name, reason))
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
    if relation["name"] in scope.exclude:
        return "excluded by TOTES_EXCLUDE_TABLES"
    if relation["kind"] in _UNFOLLOWED:
        return _UNFOLLOWED[relation["kind"]]
    if relation["persistence"] == "u":
        return f"it is {_UNLOGGED}"
    for member in relation["members"]:
        if member["kind"] == "f":
            return f"some of its rows, in {member['name']}, are on another server"
        if member["persistence"] == "u":
            return f"some of its rows are in {member['name']}, which is {_UNLOGGED}"
    return None


def _captured_with(
    relation: dict[str, Any], relations: Mapping[str, dict[str, Any]], scope: Scope
) -> str | None:
    """The captured table that this one inherits from and that has all of its columns, if any.

    A child with further columns is also captured separately.
    """
    for name in relation["parents"]:
        parent = relations[name]
        same = len(parent["columns"]) == len(relation["columns"])
        if same and not _reason_to_leave_out(parent, scope):
            return _captured_with(parent, relations, scope) or name
    return None


def _table(schema: str, relation: dict[str, Any]) -> SourceTable:
    shape = {part: relation[part] for part in ("oid", "kind", "columns", "key", "types")}
    shape["members"] = [(member["oid"], member["generated"]) for member in relation["members"]]
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
        fingerprint=hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest(),
    )
