"""Connections to the warehouse; search_path has only the schema of the star."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from totes.config.dsn import Dsn
from totes.errors import WarehouseError
from totes.lake.manifest import Identity
from totes.postgres.session import WAREHOUSE, convert_database_errors, use_session

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "row_security": "off",  # a policy then raises an error instead of hiding rows
        "lock_timeout": "60s",
    }
)

_SET_SEARCH_PATH = """
SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident(schema), false)
FROM pg_catalog.current_schema() AS schema
WHERE schema IS NOT NULL
"""
"""Leave only the first schema in search_path, so that no object of another one is used."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[Connection[Any]]:
    """Yield an autocommit session in UTC; all its database errors become WarehouseErrors."""
    with (
        convert_database_errors(WAREHOUSE, dsn),
        use_session(dsn, WAREHOUSE, SETTINGS) as connection,
    ):
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise WarehouseError(
                f"The warehouse {dsn} has encoding {encoding}, which can't store all characters: "
                "create it again with ENCODING 'UTF8' TEMPLATE template0."
            )
        connection.execute(_SET_SEARCH_PATH)
        yield connection


def require_default_schema(connection: Connection[Any]) -> None:
    """Raise WarehouseError if there is no schema for the star's tables."""
    [(schema, path)] = connection.execute(
        "SELECT current_schema(), current_setting('search_path')"
    ).fetchall()
    if schema is None or schema == "pg_catalog":
        raise WarehouseError(
            f"The warehouse has no default schema: {connection.info.user} may not use any schema "
            f"of search_path, which is {path or 'empty'}. Create one and GRANT USAGE, CREATE on "
            "it, or correct search_path."
        )


def is_database(connection: Connection[Any], identity: Identity) -> bool:
    """Return whether this is the database that a batch was captured from."""
    actual = connection.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system())::text, oid::bigint"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return actual == (identity.system_identifier, identity.database_oid)
