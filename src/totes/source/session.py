"""Connections to the source: read-only, with settings under which every value prints losslessly."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from totes.config.settings import Dsn
from totes.errors import SourceAway, SourceError
from totes.postgres.session import SOURCE, is_raised_by, open_session
from totes.postgres.sqlstate import (
    is_caused_by_encoding,
    is_row_security,
    message,
    message_with_advice,
)

SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "off",  # a policy then raises an error instead of hiding rows
    "search_path": "pg_catalog",
    "lock_timeout": "900ms",  # below deadlock_timeout: a schema change is never the victim
    "statement_timeout": "15min",
}
"""In addition to those of every session."""

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
        yield connection


@contextmanager
def source_errors(dsn: Dsn) -> Iterator[None]:
    """Turn what the source's sessions raise into one sentence and what to do next."""
    try:
        yield
    except psycopg.Error as error:
        if not is_raised_by(SOURCE, error):
            raise
        raise _failure(dsn, error) from error


def _failure(dsn: Dsn, error: psycopg.Error) -> SourceError:
    if isinstance(error, errors.LockNotAvailable):
        return SourceAway(
            f"A table of the source {dsn} stayed locked for {SETTINGS['lock_timeout']} "
            "(a schema change in progress?): nothing was captured, try again."
        )
    if is_row_security(error):
        return SourceError(
            f"The source {dsn} refuses: {message(error)}. Rows would be hidden from the platform: "
            "give its role BYPASSRLS, or exclude the table (TOTES_EXCLUDE_TABLES)."
        )
    if is_caused_by_encoding(error):
        # Unreadable values are set aside, so it is a name that the catalogue query reads.
        return SourceError(
            f"A name in the catalogue of the source {dsn} can't be read as UTF-8 "
            f"({message(error)}): rename the table, column or label."
        )
    return SOURCE.kind(error)(f"The source {dsn} can't be read: {message_with_advice(error)}.")
