"""Connections to the source: read-only, with settings under which values print without loss."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from totes.config.dsn import Dsn
from totes.errors import SourceError, SourceUnavailable
from totes.postgres.session import SOURCE, is_raised_by, use_session
from totes.postgres.sqlstate import (
    is_caused_by_encoding,
    is_caused_by_value,
    is_row_security,
    meaning,
    message,
    message_with_advice,
)

SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "off",  # a policy then raises an error instead of hiding rows
    "search_path": "pg_catalog",
    "lock_timeout": "900ms",  # below deadlock_timeout: a deadlock never cancels another session
    "statement_timeout": "15min",
}
"""Settings in addition to those of all sessions (`totes.postgres.session`)."""

OLDEST_VERSION = 140000
"""PostgreSQL 14, the first that reads a range of blocks without a scan of the whole table."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[psycopg.Connection]:
    """Yield an autocommit connection; its errors in the block become SourceErrors."""
    with (
        source_errors(dsn),
        use_session(dsn, SOURCE, SETTINGS, application_name="totes ingest") as connection,
    ):
        if connection.info.server_version < OLDEST_VERSION:
            raise SourceError(
                f"The source {dsn} is older than PostgreSQL 14, the oldest supported."
            )
        yield connection


@contextmanager
def source_errors(dsn: Dsn) -> Iterator[None]:
    """Turn the expected errors of the source's sessions into SourceErrors.

    Expected are errors in the table of SQLSTATEs (`totes.postgres.sqlstate`), those that a value in
    the source causes, and statements that fail because another thread's statement on the connection
    has failed.
    """
    try:
        yield
    except psycopg.Error as error:
        is_expected = (
            meaning(error) is not None
            or is_caused_by_value(error)
            or isinstance(error, errors.InFailedSqlTransaction)
        )
        if not is_raised_by(SOURCE, error) or not is_expected:
            raise
        raise _source_error(dsn, error) from error


def _source_error(dsn: Dsn, error: psycopg.Error) -> SourceError:
    if isinstance(error, errors.LockNotAvailable):
        return SourceUnavailable(
            f"A table of the source {dsn} stayed locked for {SETTINGS['lock_timeout']} "
            "(a schema change in progress, or a transaction left open after one?): nothing was "
            "captured, try again."
        )
    if is_row_security(error):
        return SourceError(
            f"Row-level security in the source {dsn} hides rows from the platform "
            f"({message(error)}): give its role BYPASSRLS, or exclude the table "
            "(TOTES_EXCLUDE_TABLES)."
        )
    if is_caused_by_encoding(error):
        # Unreadable values are replaced, so this is a name that the catalogue query reads.
        return SourceError(
            f"A name in the catalogue of the source {dsn} can't be read as UTF-8 "
            f"({message(error)}): rename the table, column or label."
        )
    return SOURCE.error_class(error)(
        f"The source {dsn} can't be read: {message_with_advice(error)}."
    )
