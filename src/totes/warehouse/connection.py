"""Connections to the warehouse, whose search_path is the schema of the star alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from psycopg import Connection

from totes.config.settings import Dsn
from totes.errors import WarehouseError
from totes.lake.manifest import Identity
from totes.postgres.session import WAREHOUSE, open_session, reported

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "row_security": "off",  # a policy then raises an error instead of hiding rows
        "lock_timeout": "60s",
    }
)

_KEEP_TO_DEFAULT_SCHEMA = """
SELECT pg_catalog.set_config('search_path', pg_catalog.quote_ident(schema), false)
FROM pg_catalog.current_schema() AS schema
WHERE schema IS NOT NULL
"""
"""So that no object of another schema of the search_path is used in place of the platform's."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[Connection[Any]]:
    """An autocommit session in UTC; its failures, also later ones, are WarehouseErrors."""
    with reported(WAREHOUSE, dsn), open_session(dsn, WAREHOUSE, SETTINGS) as connection:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise WarehouseError(
                f"The warehouse {dsn} has encoding {encoding}, which can't hold every character: "
                "create it again with ENCODING 'UTF8' TEMPLATE template0."
            )
        connection.execute(_KEEP_TO_DEFAULT_SCHEMA)
        yield connection


def require_default_schema(connection: Connection[Any]) -> None:
    """WarehouseError where there is no schema for the star's tables."""
    [(schema, path)] = connection.execute(
        "SELECT current_schema(), current_setting('search_path')"
    ).fetchall()
    if schema is None or schema == "pg_catalog":
        raise WarehouseError(
            f"The warehouse has no default schema: {connection.info.user} may use no schema of "
            f"search_path; search_path is {path or 'empty'}. Create one and GRANT USAGE, CREATE on "
            "it, or correct search_path."
        )


def is_database(connection: Connection[Any], identity: Identity) -> bool:
    """Whether this is the database that a batch was captured from."""
    found = connection.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system())::text, oid::bigint"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    return found == (identity.system_identifier, identity.database_oid)
