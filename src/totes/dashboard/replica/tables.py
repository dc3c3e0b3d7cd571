"""The tables of the replica: those of the star, and the versions in quarantine."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import LiteralString

from psycopg import sql

from totes.sql_text import quote
from totes.star.folder import TOTESYS
from totes.warehouse.ddl import primary_key, warehouse_columns

_TYPES = {"timestamp with time zone": "TIMESTAMPTZ", "bigint": "BIGINT"}
"""DuckDB's types for the columns that the platform adds."""


@dataclass(frozen=True)
class ReplicaTable:
    """A table of the replica: its columns with DuckDB's types, and the column of its primary key.

    Rows that meet the SQL condition `only` are copied.
    """

    name: str
    columns: Mapping[str, str]
    key: str
    schema: str | None = None
    """None is the warehouse's default schema."""
    only: LiteralString = "true"

    @property
    def relation(self) -> sql.Identifier:
        """The table of the warehouse."""
        return sql.Identifier(*filter(None, (self.schema, self.name)))

    @property
    def select(self) -> sql.Composed:
        """SQL: the rows that are copied."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        return sql.SQL("SELECT {} FROM {} WHERE {}").format(
            columns, self.relation, sql.SQL(self.only)
        )

    @property
    def create(self) -> str:
        """SQL: the table of the replica, without rows."""
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in self.columns.items())
        return f"CREATE OR REPLACE TABLE {quote(self.name)} ({columns})"


def _star_tables() -> dict[str, ReplicaTable]:
    tables = {}
    for star in TOTESYS.tables.values():
        types = {column.name: column.type.loaded for column in star.columns}
        columns = {
            column.name: types.get(column.name) or _TYPES[column.type]
            for column in warehouse_columns(star)
        }
        [key] = primary_key(star)
        tables[star.name] = ReplicaTable(star.name, columns, key)
    return tables


QUARANTINE = ReplicaTable(
    "quarantine",
    {
        "quarantine_id": "BIGINT",
        "batch": "BIGINT",
        "star_table": "VARCHAR",
        "key": "VARCHAR",
        "column_name": "VARCHAR",
        "value": "VARCHAR",
        "reason": "VARCHAR",
        "row": "VARCHAR",
        "valid_from": "TIMESTAMPTZ",
        "superseded_at": "TIMESTAMPTZ",
    },
    key="quarantine_id",
    schema="totes",
    only="released_at IS NULL",
)

TABLES: Mapping[str, ReplicaTable] = MappingProxyType(
    {**_star_tables(), QUARANTINE.name: QUARANTINE}
)
