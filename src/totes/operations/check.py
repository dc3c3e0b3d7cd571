"""Check databases, privileges, stores and clocks, and say how to correct what is missing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row

from totes.config.resources import Resources
from totes.errors import SourceError, TotesError
from totes.lake.manifest import RATES
from totes.lake.store import Store
from totes.operations.check_log import check_log, find_forgotten_slot
from totes.operations.finding import Finding, failed
from totes.rates import fetch_published, host_name
from totes.rates.ecb import READ_ERRORS, NoFileYet
from totes.source import session
from totes.source.catalogue import CaptureScope, Catalogue, read_catalogue
from totes.source.snapshot import find_missing_grants, open_snapshot
from totes.sql_text import read_sql
from totes.stages.ingest import different_source_message, is_different_source, read_newest_manifest
from totes.star.folder import Star
from totes.warehouse import connection as warehouse_session
from totes.warehouse.dependents import find_blocking_objects
from totes.warehouse.schema import READER, check_schema, has_tables

PROBE = "check/probe.txt"
"""Objects in a store are never deleted, so each check writes the same one."""

_PROBE_CONTENT = b"`totes check` writes this to see whether it can. It may stay.\n"

_OTHER_CONTENT = b"This must not replace an object that another process has written.\n"
"""Tests that the store does not overwrite objects: otherwise a process could replace a batch that
another one has published."""

MAX_CLOCK_DIFFERENCE = timedelta(seconds=5)
"""With a larger difference between clocks, the reported lag is wrong."""


def check(resources: Resources) -> Iterator[Finding]:
    """Yield the results of all checks, even if some fail; writes only the probe in each store."""
    clocks: dict[str, timedelta] = {}
    yield from _with_errors("source", lambda: _check_source(resources, clocks))
    yield from _with_errors(
        "ingestion store", lambda: _check_store("ingestion store", resources.ingestion)
    )
    yield from _with_errors(
        "processed store", lambda: _check_store("processed store", resources.processed)
    )
    yield from _with_errors("warehouse", lambda: _check_warehouse(resources, clocks))
    yield from _check_clocks(clocks)
    if resources.settings.rates and resources.settings.rates_url:
        yield _check_rates(resources.settings.rates_url)


def _with_errors(what: str, run_check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a check; an error that ends it becomes a finding."""
    try:
        yield from run_check()
    except TotesError as error:
        yield failed(what, str(error))


def _check_source(resources: Resources, clocks: dict[str, timedelta]) -> Iterator[Finding]:
    scope = resources.scope
    with session.connect(resources.source) as connection:
        clocks["source"] = _measure_clock_difference(connection)
        yield Finding("source", f"{resources.source}, {_server_version(connection)}")
        yield from _check_encoding(connection)
        catalogue = read_catalogue(connection, scope)
        privileges = list(_check_source_privileges(connection, scope, catalogue))
        may_read = all(finding.ok for finding in privileges)
        log_findings = list(_check_log(resources, connection, catalogue)) if may_read else []
        missing_tables = list(_find_missing_tables(connection, scope, catalogue, resources.star))
    yield from privileges
    yield from log_findings
    needed = resources.star.models.tables
    for name, reason in catalogue.excluded:
        if name in needed:
            advice = "a model reads it: make it a regular table with that name."
            yield failed("source table not captured", f"{name}: {reason}", advice)
        else:
            yield Finding("source table not captured", f"{name}: {reason}")
    if not may_read:
        return
    with open_snapshot(resources.source, scope) as snapshot:
        keyless = [table.name for table in snapshot.catalogue.tables if not table.key]
        yield Finding("source snapshot", "all tables can be locked and read in one snapshot")
        last = read_newest_manifest(resources.ingestion)
        if last and is_different_source(last[0], snapshot):
            yield failed("source identity", different_source_message(last[0], snapshot))
    yield from missing_tables
    if keyless:
        text = f"{', '.join(keyless)}: captured in full whenever they change"
        yield Finding("source tables without a primary key", text)


def _check_log(
    resources: Resources, connection: Connection[Any], catalogue: Catalogue
) -> Iterator[Finding]:
    settings = resources.settings
    if settings.capture == "log":
        yield from check_log(connection, resources.source, settings, catalogue)
    else:
        yield from find_forgotten_slot(connection, settings)


def _find_missing_tables(
    connection: Connection[Any], scope: CaptureScope, catalogue: Catalogue, star: Star
) -> Iterator[Finding]:
    """Yield the tables that models read and the schema does not have."""
    present = {table.name for table in catalogue.tables} | {name for name, _ in catalogue.excluded}
    for name in sorted(star.models.tables - present - {RATES}):
        others = connection.execute(
            read_sql(__package__, "queries/other_schemas.sql"), {"name": name}
        ).fetchall()
        found = f"schema {scope.schema} has no table {name}, which a model reads"
        advice = "restore it, or correct TOTES_SOURCE_SCHEMA."
        if others:
            found += f"; there is {', '.join(other for (other,) in others)}"
            advice = "move all tables into one schema, and set TOTES_SOURCE_SCHEMA to it."
        yield failed("source tables", found, advice)


def _check_encoding(connection: Connection[Any]) -> Iterator[Finding]:
    """Warn if text of the source may not be valid UTF-8."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "SQL_ASCII":
        yield Finding(
            "source encoding",
            "SQL_ASCII: the server doesn't check that text is UTF-8",
            "Values that are not UTF-8 are not captured: `totes quarantine show` lists them.",
        )
    elif encoding != "UTF8":
        yield Finding("source encoding", f"{encoding}: text is converted to UTF-8")


def _check_source_privileges(
    connection: Connection[Any], scope: CaptureScope, catalogue: Catalogue
) -> Iterator[Finding]:
    """Check what the role may read; raises SourceError if the schema does not exist."""
    user = connection.info.user
    schema = sql.Identifier(scope.schema).as_string(connection)
    role = sql.Identifier(user).as_string(connection)
    [(exists, usage)] = connection.execute(
        "SELECT to_regnamespace(%(name)s) IS NOT NULL,"
        " coalesce(has_schema_privilege(to_regnamespace(%(name)s), 'USAGE'), false)",
        {"name": schema},
    ).fetchall()
    if not exists:
        raise SourceError(f"There is no schema {schema}: correct TOTES_SOURCE_SCHEMA.")
    oids = [table.oid for table in catalogue.tables]
    denied = connection.execute(
        "SELECT relname FROM pg_class"
        " WHERE oid = ANY(%s) AND NOT has_table_privilege(oid, 'SELECT') ORDER BY 1",
        [oids],
    ).fetchall()
    if not usage:
        found = f"{user} may not use schema {schema}"
        yield failed("source schema", found, f"GRANT USAGE ON SCHEMA {schema} TO {role};")
    for (name,) in denied:
        table = sql.Identifier(scope.schema, name).as_string(connection)
        found = f"{user} may not read {name}"
        yield failed("source privileges", found, f"GRANT SELECT ON {table} TO {role};")
    for grant in find_missing_grants(connection):
        found = f"{user} may not execute a function that a capture needs"
        yield failed("source privileges", found, grant)
    hidden = connection.execute(
        "SELECT relname FROM pg_class WHERE oid = ANY(%s) AND row_security_active(oid) ORDER BY 1",
        [oids],
    ).fetchall()
    for (name,) in hidden:
        found = f"row-level security may hide rows of {name} from {user}"
        advice = f"ALTER ROLE {role} BYPASSRLS; or exclude it with TOTES_EXCLUDE_TABLES."
        yield failed("source privileges", found, advice)
    if usage and not denied and not hidden and catalogue.tables:
        yield Finding("source privileges", f"{user} may read all {len(catalogue.tables)} tables")


def _check_store(what: str, store: Store) -> Iterator[Finding]:
    """Write, read, list and try to overwrite an object; raises LakeError if the store fails."""
    store.create(PROBE, _PROBE_CONTENT)
    if store.get(PROBE) != _PROBE_CONTENT or PROBE not in store.list("check/"):
        advice = "use a store that keeps what is written."
        yield failed(what, f"{store.url} does not return what was written", advice)
    elif store.create(PROBE, _OTHER_CONTENT) or store.get(PROBE) != _PROBE_CONTENT:
        store.create(PROBE, _PROBE_CONTENT)  # the next check expects this content
        found = f"{store.url} overwrites objects that it should only create"
        yield failed(what, found, "use a store that supports conditional writes (If-None-Match).")
    else:
        yield Finding(what, f"{store.url} can be written, read and listed, and does not overwrite")


def _check_warehouse(resources: Resources, clocks: dict[str, timedelta]) -> Iterator[Finding]:
    with warehouse_session.connect(resources.warehouse) as connection:
        clocks["warehouse"] = _measure_clock_difference(connection)
        yield Finding("warehouse", f"{resources.warehouse}, {_server_version(connection)}")
        last = read_newest_manifest(resources.ingestion)
        if last and warehouse_session.is_database(connection, last[0].identity):
            advice = "name another database in TOTES_WAREHOUSE_DSN."
            yield failed("warehouse", "it is the source database", advice)
        yield from _check_writable(connection)
        [(may_use, owner)] = connection.execute(
            "SELECT coalesce(has_schema_privilege(to_regnamespace('totes'), 'USAGE'), true),"
            " (SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace"
            " WHERE nspname = 'totes')"
        ).fetchall()
        if not may_use:
            yield failed(
                "warehouse privileges",
                *_not_owner(connection, "schema totes and its tables belong", owner),
            )
            return
        if not has_tables(connection):
            yield from _check_new_warehouse(connection, resources.star)
        else:
            check_schema(connection, resources.star)
            yield Finding("warehouse tables", "as declared")
            failures = list(_check_loader_privileges(connection, resources.star))
            yield from failures or _check_blocking_objects(connection, resources.star)


def _check_writable(connection: Connection[Any]) -> Iterator[Finding]:
    [(standby, read_only)] = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool"
    ).fetchall()
    if standby:
        advice = "name the primary server in TOTES_WAREHOUSE_DSN."
        yield failed("warehouse", "it is a standby, which can't be written to", advice)
    elif read_only:
        advice = "set default_transaction_read_only = off for this role, database or server."
        yield failed("warehouse", "it is read-only", advice)


@dataclass(frozen=True)
class _NewWarehouse:
    """A row of `queries/new_warehouse.sql`."""

    database: str
    schema: str | None
    search_path: str
    can_create_schema: bool
    can_create_temporary_tables: bool
    can_create_tables: bool
    can_create_reader: bool
    conflicts: list[str]


def _check_new_warehouse(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """Check whether the loader may create the warehouse's tables."""
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    with connection.cursor(row_factory=class_row(_NewWarehouse)) as cursor:
        parameters = {"reader": READER, "stars": list(star.tables)}
        [warehouse] = cursor.execute(
            read_sql(__package__, "queries/new_warehouse.sql"), parameters
        ).fetchall()
    if warehouse.schema is None:
        path = warehouse.search_path or "empty"
        found = f"no schema of search_path exists; search_path is {path}"
        yield failed("warehouse schema", found, "CREATE SCHEMA, or correct search_path.")
        return
    for conflict in warehouse.conflicts:
        advice = "drop or rename them, or use another database or schema (search_path)."
        found = f"{conflict}, not created by the platform"
        yield failed("warehouse tables", found, advice)
    failures = [
        (found, remedy)
        for is_allowed, found, remedy in (
            (
                warehouse.can_create_schema,
                f"{user} may not create schema totes in database {warehouse.database}",
                f"GRANT CREATE ON DATABASE {warehouse.database} TO {role};",
            ),
            (
                warehouse.can_create_temporary_tables,
                *_no_temporary_tables(user, warehouse.database, role),
            ),
            (
                warehouse.can_create_tables,
                f"{user} may not create tables in schema {warehouse.schema}",
                f"GRANT USAGE, CREATE ON SCHEMA {warehouse.schema} TO {role};",
            ),
            (
                warehouse.can_create_reader,
                f"role {READER} is missing and {user} may not create it",
                f"CREATE ROLE {READER};",
            ),
        )
        if not is_allowed
    ]
    for found, remedy in failures:
        yield failed("warehouse privileges", found, remedy)
    if not failures and not warehouse.conflicts:
        yield Finding("warehouse tables", "none yet: the first `totes run` creates them")


def _check_loader_privileges(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """Check whether the loader owns the tables, as migrations and replays need it."""
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    [(database, can_create_temporary_tables, other_owners)] = connection.execute(
        read_sql(__package__, "queries/loader_privileges.sql"), {"stars": list(star.tables)}
    ).fetchall()
    for owner in other_owners:
        yield failed("warehouse privileges", *_not_owner(connection, "tables belong", owner))
    if not can_create_temporary_tables:
        yield failed("warehouse privileges", *_no_temporary_tables(user, database, role))


def _not_owner(connection: Connection[Any], what: str, owner: str) -> tuple[str, str]:
    """Return what was found, and the advice, if `what` belong to another role."""
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    return (
        f"{what} to {owner}, and {user} may not load them",
        f"use that role in TOTES_WAREHOUSE_DSN, or GRANT {owner} TO {role};",
    )


def _check_blocking_objects(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """Yield objects that users created on the tables and that block loads or rebuilds."""
    for blocking in find_blocking_objects(connection, star):
        blocked = "rebuild" if blocking.blocks_only_rebuilds else "load"
        found = f"{blocking.description}: blocks every {blocked}"
        yield failed("warehouse tables", found, f"{blocking.remedy}.")


def _no_temporary_tables(user: str, database: str, role: str) -> tuple[str, str]:
    """Return what was found, and the advice, if the role may not create temporary tables."""
    return (
        f"{user} may not create temporary tables in database {database}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {role};",
    )


def _check_rates(url: str) -> Finding:
    """Check whether exchange rates can be read from TOTES_RATES_URL."""
    try:
        days = fetch_published(url)
    except NoFileYet:
        found = f"those of the package, as there are none in {host_name(url)} yet"
        return Finding("exchange rates", found)
    except READ_ERRORS as error:
        found = f"none from {host_name(url)}: {str(error)[:200] or type(error).__name__}"
        return failed("exchange rates", found, "correct TOTES_RATES_URL, or leave it out.")
    return Finding("exchange rates", f"from {host_name(url)}, up to {max(days)}")


def _check_clocks(differences: dict[str, timedelta]) -> Iterator[Finding]:
    for server, difference in differences.items():
        seconds = abs(difference).total_seconds()
        if abs(difference) <= MAX_CLOCK_DIFFERENCE:
            yield Finding(f"{server} clock", f"{seconds:.1f} s from this machine's")
        else:
            direction = "ahead of" if difference > timedelta() else "behind"
            found = f"{seconds:.0f} s {direction} this machine's"
            yield failed(f"{server} clock", found, "synchronize both clocks with NTP.")


def _measure_clock_difference(connection: Connection[Any]) -> timedelta:
    """Return by how much the server's clock is ahead of this machine's clock."""
    before = datetime.now(UTC)
    [(server_time,)] = connection.execute("SELECT clock_timestamp()").fetchall()
    difference: timedelta = server_time - (before + (datetime.now(UTC) - before) / 2)
    return difference


def _server_version(connection: Connection[Any]) -> str:
    version = connection.info.server_version
    return f"PostgreSQL {version // 10000}.{version % 100}"
