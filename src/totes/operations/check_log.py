"""Check what the capture from the source's write-ahead log needs (TOTES_CAPTURE=log)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row

from totes.config.dsn import Dsn
from totes.config.settings import Settings
from totes.operations.finding import Finding, failed
from totes.postgres.sqlstate import message
from totes.source.catalogue import Catalogue, SourceTable
from totes.source.log.publication import (
    PublishedTable,
    find_toasted_tables,
    read_publication,
)
from totes.source.log.slot import (
    RETENTION_ADVICE,
    SlotState,
    find_blockers,
    read_slot,
    retention_problem,
)
from totes.sql_text import read_sql

_MEGABYTE = 1_000_000

_FREE_SLOTS = 5
"""By how many the advice raises a limit that is reached."""


@dataclass(frozen=True)
class _Server:
    """The row of `queries/log_capture.sql`."""

    is_standby: bool
    wal_level: str
    is_rds: bool
    may_replicate: bool
    slots: int
    max_slots: int
    senders: int
    max_senders: int


def check_log(
    connection: Connection[Any], dsn: Dsn, settings: Settings, catalogue: Catalogue
) -> Iterator[Finding]:
    """Yield what was found; `connection` is a session of the source, `dsn` its DSN."""
    query = read_sql(__package__, "queries/log_capture.sql")
    with connection.cursor(row_factory=class_row(_Server)) as cursor:
        [server] = cursor.execute(query).fetchall()
    if server.is_standby:
        advice = "name the primary server in TOTES_SOURCE_DSN, or set TOTES_CAPTURE=scan."
        yield failed("log", "the source is a standby, whose log can't be read", advice)
        return
    slot = read_slot(connection, settings.log_slot)
    failures = list(_check_server(connection, server, slot))
    yield from failures
    if not failures and not (slot and slot.active):
        yield _check_stream(dsn)
    yield from _check_publication(connection, settings.log_publication, catalogue)
    yield from _check_slot(connection, settings, slot)


def find_forgotten_slot(connection: Connection[Any], settings: Settings) -> Iterator[Finding]:
    """Yield the slot of an earlier capture from the log, which TOTES_CAPTURE=scan does not read."""
    # The role may lack privileges that reading the slot's state needs, and scan does not.
    exists = connection.execute(
        "SELECT FROM pg_replication_slots WHERE slot_name = %s", [settings.log_slot]
    ).fetchone()
    if exists is None:
        return
    slot = read_slot(connection, settings.log_slot)
    if slot is not None and not slot.misuse and not slot.active:
        yield failed(
            "log slot",
            f"TOTES_CAPTURE is scan, but {_retained(slot)}",
            "`totes log drop` removes it; the next capture from the log creates it again.",
        )


def retained_too_much(slot: SlotState, settings: Settings) -> bool:
    """Whether the slot retains at least TOTES_LOG_ALARM of the write-ahead log."""
    return (slot.retained_bytes or 0) >= settings.log_alarm * _MEGABYTE


def _check_server(
    connection: Connection[Any], server: _Server, slot: SlotState | None
) -> Iterator[Finding]:
    """Yield what server and role lack."""
    role = sql.Identifier(connection.info.user).as_string(connection)
    if server.wal_level != "logical":
        found = f"wal_level of the source is {server.wal_level}"
        advice = (
            "set rds.logical_replication = 1 in its parameter group, and reboot it."
            if server.is_rds
            else "ALTER SYSTEM SET wal_level = 'logical'; then restart the server."
        )
        yield failed("log", found, advice)
    if not server.may_replicate:
        found = f"{connection.info.user} may not read the log"
        advice = (
            f"GRANT rds_replication TO {role};"
            if server.is_rds
            else f"ALTER ROLE {role} REPLICATION;"
        )
        yield failed("log privileges", found, advice)
    if problem := retention_problem(connection):
        yield failed("log retention", problem, RETENTION_ADVICE)
    limits = (
        ("max_replication_slots", slot is None and server.slots >= server.max_slots),
        ("max_wal_senders", not (slot and slot.active) and server.senders >= server.max_senders),
    )
    for limit, is_reached in limits:
        if is_reached:
            [(value,)] = connection.execute("SELECT current_setting(%s)::int", [limit]).fetchall()
            advice = f"ALTER SYSTEM SET {limit} = {value + _FREE_SLOTS}; then restart the server."
            yield failed("log", f"all {value} of {limit} are in use", advice)


def _check_stream(dsn: Dsn) -> Finding:
    """Try the kind of connection that reads the log; poolers and pg_hba.conf may refuse it."""
    try:
        dsn.connect(
            lambda conninfo: psycopg.connect(
                make_conninfo(conninfo, replication="database"), autocommit=True
            )
        ).close()
    except psycopg.OperationalError as error:
        return failed(
            "log stream",
            f"a replication connection is refused: {message(error)}",
            "connect to the server itself, not to a pooler, and permit the role in pg_hba.conf.",
        )
    return Finding("log stream", "a replication connection is accepted")


def _check_publication(
    connection: Connection[Any], publication: str, catalogue: Catalogue
) -> Iterator[Finding]:
    published = read_publication(connection, publication, catalogue.tables)
    by_reason = _group_by_reason(catalogue, published)
    name = sql.Identifier(publication)
    if absent := by_reason.pop(f"there is no publication {publication}", []):
        statement = sql.SQL("CREATE PUBLICATION {} FOR TABLE {};").format(name, _list(absent))
        yield failed(
            "log publication",
            f"there is no publication {publication}",
            f"as the tables' owner: {statement.as_string(connection)} It names tables with a "
            "primary key only: FOR ALL TABLES would make the application's updates and deletes of "
            "the others fail.",
        )
    elif from_log := by_reason.pop("", []):
        yield Finding(
            "log publication", f"{publication} has {len(from_log)} of {len(published)} tables"
        )
    else:
        advice = "set TOTES_CAPTURE=scan, or correct the publication."
        yield failed("log publication", "no table can be captured from the log", advice)
    if missing := by_reason.pop(f"it is not in publication {publication}", []):
        statement = sql.SQL("ALTER PUBLICATION {} ADD TABLE {};").format(name, _list(missing))
        for table in missing:
            found = f"{table.name}: it is not in publication {publication}"
            yield Finding("table that is scanned", found, statement.as_string(connection))
    for reason, tables in by_reason.items():
        for table in tables:
            yield Finding("table that is scanned", f"{table.name}: {reason}")
    for table in catalogue.tables:
        if published[table.name].blocks_writes:
            statement = sql.SQL("ALTER PUBLICATION {} DROP TABLE {};").format(name, _list([table]))
            yield failed(
                "log publication",
                f"the application can't update or delete rows of {table.name}, which is in "
                f"{publication} without a replica identity",
                f"{statement.as_string(connection)} Or, if that is not possible, ALTER TABLE … "
                "REPLICA IDENTITY FULL.",
            )
    from_log = [table for table in catalogue.tables if not published[table.name].reason]
    if toasted := find_toasted_tables(connection, from_log):
        yield Finding(
            "tables that may be scanned",
            f"{', '.join(table.name for table in toasted)}: after an update that leaves a value of "
            "more than about 2 kB unchanged; with REPLICA IDENTITY FULL, never",
        )


def _group_by_reason(
    catalogue: Catalogue, published: Mapping[str, PublishedTable]
) -> dict[str, list[SourceTable]]:
    groups: dict[str, list[SourceTable]] = {}
    for table in catalogue.tables:
        groups.setdefault(published[table.name].reason, []).append(table)
    return groups


def _list(tables: list[SourceTable]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(table.schema, table.name) for table in tables)


def _check_slot(
    connection: Connection[Any], settings: Settings, slot: SlotState | None
) -> Iterator[Finding]:
    if slot is None:
        yield Finding("log slot", "none yet: the first capture creates it")
        for clause in find_blockers(connection):
            advice = "a new slot waits for it: commit it or roll it back."
            yield Finding("log slot", clause, advice)
    elif slot.misuse:
        yield failed("log slot", slot.misuse, "set TOTES_LOG_SLOT to another name.")
    elif slot.is_lost:
        yield failed(
            "log slot",
            f"the server has removed log that slot {slot.name} still needs",
            "the next capture scans all tables and re-creates the slot. Run captures more often, "
            "or raise max_slot_wal_keep_size.",
        )
    elif retained_too_much(slot, settings):
        yield failed(
            "log slot",
            f"{_retained(slot)}, more than TOTES_LOG_ALARM",
            "`totes run` reads it; `totes log drop` removes the slot.",
        )
    else:
        yield Finding("log slot", _retained(slot))


def _retained(slot: SlotState) -> str:
    reader = f"process {slot.active_pid} reads" if slot.active else "no process reads"
    megabytes = (slot.retained_bytes or 0) / _MEGABYTE
    return f"{reader} slot {slot.name}, which retains {megabytes:,.1f} MB of log"
