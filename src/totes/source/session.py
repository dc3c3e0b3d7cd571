"""Connections to the source: read-only, with settings under which every value prints losslessly."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from totes.errors import SourceAway, SourceError
from totes.policy import passes
from totes.settings import Dsn

SETTINGS = {
    "default_transaction_read_only": "on",
    "row_security": "off",  # a policy then raises an error instead of hiding rows
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "lc_monetary": "C",
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",
    "lock_timeout": "900ms",  # below deadlock_timeout: a schema change is never the victim
    "statement_timeout": "15min",
    "transaction_timeout": "0",  # a capture is one transaction, as long as the table is large
    "idle_in_transaction_session_timeout": "0",  # the first connection waits for the others
    "idle_session_timeout": "0",
    "jit": "off",  # compiling costs more than these statements run
}

_SET = """
SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[]) AS setting (name, value)
WHERE current_setting(name, true) IS NOT NULL
"""
"""Settings that a server is too old to have (transaction_timeout: before 17) stay unset."""

OLDEST = 140000
"""PostgreSQL 14: the first that reads a range of blocks without reading the whole table."""


@contextmanager
def connect(dsn: Dsn) -> Iterator[psycopg.Connection]:
    """A connection in autocommit; psycopg's errors inside the block become SourceErrors."""
    with source_errors(dsn), _open(dsn) as connection:
        if connection.info.server_version < OLDEST:
            raise SourceError(
                f"The source {dsn} is older than PostgreSQL 14, the oldest supported."
            )
        # As bytes: the session's encoding is the server's so far, and Python doesn't know this one.
        if connection.pgconn.parameter_status(b"server_encoding") == b"MULE_INTERNAL":
            raise SourceError(
                f"The source {dsn} has the encoding MULE_INTERNAL, the one that PostgreSQL can't "
                "convert to UTF-8: it can't be ingested."
            )
        # First and by itself: a short one of the role's would end what follows.
        connection.execute("SET statement_timeout = 0")
        connection.execute(_SET, [list(SETTINGS), list(SETTINGS.values())])
        yield connection


def _open(dsn: Dsn) -> psycopg.Connection:
    return dsn.open(
        lambda known: psycopg.connect(
            known,
            autocommit=True,
            application_name="totes ingest",
            connect_timeout=str(dsn.parts.get("connect_timeout", 10)),
        )
    )


@contextmanager
def source_errors(dsn: Dsn) -> Iterator[None]:
    """Turn what the driver raises into one sentence and what to do next."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        message = _line(error)
        if "row-level security" in message:
            advice = (
                "Rows would be hidden from the platform: give its role BYPASSRLS, "
                "or exclude the table (TOTES_EXCLUDE_TABLES)"
            )
        else:
            advice = "`totes check` prints the GRANTs that are missing"
        raise SourceError(f"The source {dsn} refuses: {message}. {advice}.") from error
    except errors.LockNotAvailable as error:
        raise SourceAway(
            f"A table of the source {dsn} stayed locked for {SETTINGS['lock_timeout']} "
            "(a schema change in progress?): nothing was captured, try again."
        ) from error
    except (errors.CharacterNotInRepertoire, errors.UntranslatableCharacter) as error:
        # Of values it is known by then: what is left are names, which the catalogue is read for.
        raise SourceError(
            f"A name in the catalogue of the source {dsn} can't be read as UTF-8 ({_line(error)}): "
            "rename the table, column or label."
        ) from error
    except psycopg.OperationalError as error:
        kind = SourceAway if passes(error) else SourceError
        raise kind(f"The source {dsn} can't be read: {_line(error)}. {_way_in(error)}.") from error
    except psycopg.Error as error:
        raise SourceError(f"Reading the source {dsn} failed: {_line(error)}.") from error


def _way_in(error: psycopg.OperationalError) -> str:
    if "CONNECT privilege" in str(error):
        return "Its owner can GRANT CONNECT on that database to this user"
    return "Check TOTES_SOURCE_DSN and that the server answers"


def _line(error: psycopg.Error) -> str:
    said = error.diag.message_primary or str(error) or type(error).__name__
    said = re.sub(r"\n\t.*", "", said)  # libpq's guesses at the cause
    return " ".join(said.split()).rstrip(".")
