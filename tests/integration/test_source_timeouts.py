"""Timeouts that are set for a role or a database do not end a capture."""

import psycopg
from psycopg import sql
from scratch_source import ScratchSource

from totes.source import session

NOT_SET_BY_THE_PLATFORM = {"tcp_user_timeout", "wal_sender_timeout"}
"""The timeouts of the network and of replication."""


def test_timeouts_of_the_role_are_overridden(any_scratch_source: ScratchSource) -> None:
    """All timeouts of this version of PostgreSQL; version 17 added transaction_timeout."""
    scratch_source = any_scratch_source
    with psycopg.connect(scratch_source.owner.replace(user="postgres").reveal()) as connection:
        rows = connection.execute(
            "SELECT name FROM pg_settings WHERE name LIKE '%timeout%' AND context = 'user'"
        ).fetchall()
        names = {name for (name,) in rows} - NOT_SET_BY_THE_PLATFORM
        assert {"statement_timeout", "lock_timeout", "idle_session_timeout"} < names
        for name in names:
            connection.execute(
                sql.SQL("ALTER ROLE totes_ingest IN DATABASE {} SET {} = '59s'").format(
                    sql.Identifier(connection.info.dbname), sql.Identifier(name)
                )
            )
    with session.connect(scratch_source.dsn) as connection:
        values = {
            name: connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in names
        }
    assert [name for name, value in values.items() if value == ("59s",)] == []
    scratch_source.add_items()
