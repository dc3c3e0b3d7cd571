"""What the publication and the catalogue say about each captured table.

A table whose changes the log does not have exactly is scanned, and the reason is reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from totes.source.catalogue import SourceTable
from totes.sql_text import read_sql

_QUERY = read_sql(__package__, "publication.sql")

_SCHEMAS = sql.SQL(
    "SELECT pnpubid AS pubid, pnnspid AS schema, oid, xmin FROM pg_publication_namespace"
)
_NO_SCHEMAS = sql.SQL(
    "SELECT NULL::oid AS pubid, NULL::oid AS schema, NULL::oid AS oid, NULL::xid AS xmin"
    " WHERE false"
)
_FIRST_VERSION_WITH_SCHEMAS = 150000

_TOAST_QUERY = """
SELECT oid::bigint FROM pg_class
WHERE oid = ANY(%s::oid[]) AND reltoastrelid <> 0 AND relreplident <> 'f'
"""


_TABLES_QUERY = """
SELECT oid::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace NOT IN (
    'pg_catalog'::regnamespace, 'information_schema'::regnamespace
)
"""


@dataclass(frozen=True)
class PublishedTable:
    """What the publication and the catalogue say about one captured table.

    `definition` is a digest: if it differs, rows may have changed without a trace in the log.
    It does not notice a replica identity that was changed and changed back; `class_xmin` does.
    `class_xmin` is the 32-bit xmin of the table's row in pg_class, which TRUNCATE changes, too.
    `reason` says why the log does not have all changes of the table exactly; empty if it has.
    `blocks_writes`: the application's updates or deletes of the table fail, because it is in the
    publication and has no replica identity.
    """

    definition: str
    class_xmin: int
    reason: str
    blocks_writes: bool = False


_DROPPED = PublishedTable("", 0, "it no longer exists")


@dataclass(frozen=True)
class _Row:
    """A row of `publication.sql`."""

    oid: int
    class_xmin: int
    definition: str
    publication_exists: bool
    published: bool
    is_partition: bool
    identity: str
    identity_is_key: bool
    key_is_deferrable: bool
    blocks_writes: bool
    filtered: bool
    left_out_operations: list[str]
    left_out_columns: list[str]
    left_out_generated: list[str]


def read_publication(
    connection: psycopg.Connection, publication: str, tables: Sequence[SourceTable]
) -> dict[str, PublishedTable]:
    """Return by name what is known about each of `tables`, as a new snapshot sees it.

    Every role may run the query, and it waits for no lock. A table or publication that does not
    exist is a reason, not an error.
    """
    encoding = connection.info.parameter_status("server_encoding")
    rows = _read_rows(connection, publication, [table.oid for table in tables])
    return {
        table.name: PublishedTable(
            rows[table.oid].definition,
            rows[table.oid].class_xmin,
            _reason(table, rows[table.oid], publication, encoding),
            rows[table.oid].blocks_writes,
        )
        if table.oid in rows
        else _DROPPED
        for table in tables
    }


def read_definitions(connection: psycopg.Connection, publication: str) -> dict[int, str]:
    """Return the `definition` of every table in the database by its OID."""
    tables = connection.execute(_TABLES_QUERY).fetchall()
    rows = _read_rows(connection, publication, [oid for (oid,) in tables])
    return {oid: row.definition for oid, row in rows.items()}


def _read_rows(
    connection: psycopg.Connection, publication: str, tables: Sequence[int]
) -> dict[int, _Row]:
    """Return the rows of `publication.sql` by the table's OID."""
    has_schemas = connection.info.server_version >= _FIRST_VERSION_WITH_SCHEMAS
    query = sql.SQL(_QUERY).format(schemas=_SCHEMAS if has_schemas else _NO_SCHEMAS)
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        cursor.execute(query, {"publication": publication, "tables": [*tables]})
        return {row.oid: row for row in cursor}


def find_toasted_tables(
    connection: psycopg.Connection, tables: Sequence[SourceTable]
) -> list[SourceTable]:
    """Return the tables that may be scanned although the log has their changes.

    PostgreSQL stores large values apart (TOAST). An update that leaves one unchanged does not
    write it to the log again, unless the table has REPLICA IDENTITY FULL.
    """
    rows = connection.execute(_TOAST_QUERY, [[table.oid for table in tables]]).fetchall()
    oids = {oid for (oid,) in rows}
    return [table for table in tables if table.oid in oids]


def _reason(table: SourceTable, row: _Row, publication: str, encoding: str | None) -> str:
    """Return the first reason that holds, empty if none does."""
    operations, columns, generated = map(
        ", ".join, (row.left_out_operations, row.left_out_columns, row.left_out_generated)
    )
    reasons: dict[str, object] = {
        "the server's encoding SQL_ASCII does not guarantee UTF-8": encoding == "SQL_ASCII",
        "it is partitioned": table.partitioned,
        "it is a partition": row.is_partition,
        "other tables inherit from it": table.has_children,
        "it has no primary key": not table.key,
        "its replica identity is NOTHING": row.identity == "n",
        # As a row's old key, the log then has the columns of that index.
        "its replica identity is an index that is not the primary key's": (
            row.identity == "i" and not row.identity_is_key
        ),
        "its primary key is deferrable, which can't be a replica identity": (
            row.identity != "f" and row.key_is_deferrable
        ),
        f"there is no publication {publication}": not row.publication_exists,
        f"it is not in publication {publication}": not row.published,
        f"the publication leaves out {operations}": operations,
        "the publication filters its rows": row.filtered,
        f"the publication leaves out columns: {columns}": columns,
        f"it has generated columns, which the publication leaves out: {generated}": generated,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
