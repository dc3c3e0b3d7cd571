"""Connections to the source: read-only, with settings under which every value prints losslessly."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from totes.config.settings import Dsn
from totes.errors import SourceAway, SourceError
from totes.postgres.session import SOURCE, is_of, open_session
from totes.postgres.sqlstate import line, told

SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "off",  # a policy then raises an error instead of hiding rows
    "search_path": "pg_catalog",
    "lock_timeout": "900ms",  # below deadlock_timeout: a schema change is never the victim
    "statement_timeout": "15min",
}
"""Beside those that every session has."""

OLDEST = 140000
"""PostgreSQL 14: the first that reads a range of blocks without reading the whole table."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[psycopg.Connection]:
    """A connection in autocommit; psycopg's errors inside the block become SourceErrors."""
    with (
        source_errors(dsn),
        open_session(dsn, SOURCE, SETTINGS, application_name="totes ingest") as connection,
    ):
        if connection.info.server_version < OLDEST:
            raise SourceError(
                f"The source {dsn} is older than PostgreSQL 14, the oldest supported."
            )
        # As bytes: Python doesn't know this encoding.
        if connection.pgconn.parameter_status(b"server_encoding") == b"MULE_INTERNAL":
            raise SourceError(
                f"The source {dsn} has the encoding MULE_INTERNAL, the one that PostgreSQL can't "
                "convert to UTF-8: it can't be ingested."
            )
        yield connection


@contextmanager
def source_errors(dsn: Dsn) -> Iterator[None]:
    """Turn what the source's sessions raise into one sentence and what to do next."""
    try:
        yield
    except psycopg.Error as error:
        if not is_of(SOURCE, error):
            raise
        raise _failure(dsn, error) from error


def _failure(dsn: Dsn, error: psycopg.Error) -> SourceError:
    if isinstance(error, errors.LockNotAvailable):
        return SourceAway(
            f"A table of the source {dsn} stayed locked for {SETTINGS['lock_timeout']} "
            "(a schema change in progress?): nothing was captured, try again."
        )
    if isinstance(error, errors.InsufficientPrivilege) and "row-level security" in str(error):
        return SourceError(
            f"The source {dsn} refuses: {line(error)}. Rows would be hidden from the platform: "
            "give its role BYPASSRLS, or exclude the table (TOTES_EXCLUDE_TABLES)."
        )
    if isinstance(error, errors.CharacterNotInRepertoire | errors.UntranslatableCharacter):
        # Unreadable values are set aside: what is left are names, which the catalogue is read for.
        return SourceError(
            f"A name in the catalogue of the source {dsn} can't be read as UTF-8 ({line(error)}): "
            "rename the table, column or label."
        )
    return SOURCE.kind(error)(f"The source {dsn} can't be read: {told(error)}.")
