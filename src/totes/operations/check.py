"""Check: is everything there that the platform needs, and what to do where it is not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import Connection, sql

from totes.config.resources import Places
from totes.errors import SourceError, TotesError
from totes.lake.manifest import RATES
from totes.lake.store import Store
from totes.rates import place, published_at
from totes.rates.ecb import UNREADABLE
from totes.source import session
from totes.source.catalogue import Catalogue, Scope, read_catalogue
from totes.source.snapshot import missing_grants, open_snapshot
from totes.stages.ingest import another_source, is_another_source, newest_batch
from totes.star.definition import Star
from totes.warehouse import connection as warehouse_session
from totes.warehouse.dependents import obstacles
from totes.warehouse.schema import READER, is_made
from totes.warehouse.schema import check as check_contract

PROBE = "check/probe.txt"
"""Nothing in a store can be removed again, so the check leaves one object, always the same."""

_PROBE_CONTENT = b"`totes check` writes this to see whether it can. It may stay.\n"

_OTHER_CONTENT = b"This must not replace what another process has written.\n"
"""Two processes may publish the same batch: a store that lets the second overwrite it loses one."""

CLOCKS_APART = timedelta(seconds=5)
"""How far clocks may differ before "so many seconds ago" misleads."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and where it is not `ok`, what to do about it."""

    what: str
    found: str
    advice: str = ""
    ok: bool = True


def _failed(what: str, found: str, advice: str = "") -> Finding:
    return Finding(what, found, advice, ok=False)


def check(places: Places) -> Iterator[Finding]:
    """Look at everything, whatever fails; changes nothing but the probe in each store."""
    clocks: dict[str, timedelta] = {}
    yield from _guarded("source", lambda: _source(places, clocks))
    yield from _guarded("ingestion store", lambda: _store("ingestion store", places.ingestion))
    yield from _guarded("processed store", lambda: _store("processed store", places.processed))
    yield from _guarded("warehouse", lambda: _warehouse(places, clocks))
    yield from _clocks(clocks)
    if places.settings.rates and places.settings.rates_url:
        yield _rates(places.settings.rates_url)


def _guarded(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What `look` finds, until an error ends it, which is then a finding too."""
    try:
        yield from look()
    except TotesError as error:
        yield _failed(what, str(error))


def _source(places: Places, clocks: dict[str, timedelta]) -> Iterator[Finding]:
    scope = places.scope
    with session.connect(places.source) as connection:
        clocks["source"] = _clock(connection)
        yield Finding("source", f"{places.source}, {_version(connection)}")
        yield from _encoding(connection)
        catalogue = read_catalogue(connection, scope)
        rights = list(_source_rights(connection, scope, catalogue))
        lacking = list(_lacking(connection, scope, catalogue, places.star))
    yield from rights
    needed = places.star.models.tables
    for name, reason in catalogue.left_out:
        if name in needed:
            advice = "the models need it: make it a regular table with that name."
            yield _failed("source left out", f"{name}: {reason}", advice)
        else:
            yield Finding("source left out", f"{name}: {reason}")
    if not all(finding.ok for finding in rights):
        return
    with open_snapshot(places.source, scope) as snapshot:
        keyless = [table.name for table in snapshot.catalogue.tables if not table.key]
        yield Finding("source snapshot", "all tables can be locked and read in one snapshot")
        last = newest_batch(places.ingestion)
        if last and is_another_source(last[0], snapshot):
            yield _failed("source identity", another_source(last[0], snapshot))
    yield from lacking
    if keyless:
        text = f"{', '.join(keyless)}: captured whole whenever they change"
        yield Finding("source tables without a primary key", text)


def _lacking(
    connection: Connection[Any], scope: Scope, catalogue: Catalogue, star: Star
) -> Iterator[Finding]:
    """Tables that the models need and the schema does not have."""
    there = {table.name for table in catalogue.tables} | {name for name, _ in catalogue.left_out}
    for name in sorted(star.models.tables - there - {RATES}):
        elsewhere = connection.execute(
            "SELECT format('%%I.%%I', nspname, relname) FROM pg_class"
            " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE relname = %s AND relkind IN ('r', 'p', 'v', 'm', 'f')"
            " AND nspname NOT LIKE ALL (ARRAY['pg_%%', 'information_schema']) ORDER BY 1",
            [name],
        ).fetchall()
        found = f"schema {scope.schema} has no table {name}, which the models need"
        advice = "restore it, or correct TOTES_SOURCE_SCHEMA."
        if elsewhere:
            found += f"; there is {', '.join(other for (other,) in elsewhere)}"
            advice = "move all tables into one schema, and set TOTES_SOURCE_SCHEMA to it."
        yield _failed("source tables", found, advice)


def _encoding(connection: Connection[Any]) -> Iterator[Finding]:
    """A warning where text of the source may have no equivalent in UTF-8."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "SQL_ASCII":
        yield Finding(
            "source encoding",
            "SQL_ASCII: the server doesn't check that text is UTF-8",
            "Values that are not UTF-8 are set aside: `totes quarantine show` lists them.",
        )
    elif encoding != "UTF8":
        yield Finding("source encoding", f"{encoding}: text is converted to UTF-8")


def _source_rights(
    connection: Connection[Any], scope: Scope, catalogue: Catalogue
) -> Iterator[Finding]:
    """What the role may read; SourceError ends the look where it may not enter the schema."""
    user = connection.info.user
    schema = sql.Identifier(scope.schema).as_string(connection)
    role = sql.Identifier(user).as_string(connection)
    [(known, usage)] = connection.execute(
        "SELECT to_regnamespace(%(name)s) IS NOT NULL,"
        " coalesce(has_schema_privilege(to_regnamespace(%(name)s), 'USAGE'), false)",
        {"name": schema},
    ).fetchall()
    if not known:
        raise SourceError(f"There is no schema {schema}: correct TOTES_SOURCE_SCHEMA.")
    oids = [table.oid for table in catalogue.tables]
    denied = connection.execute(
        "SELECT relname FROM pg_class"
        " WHERE oid = ANY(%s) AND NOT has_table_privilege(oid, 'SELECT') ORDER BY 1",
        [oids],
    ).fetchall()
    if not usage:
        lacking = f"{user} may not enter schema {schema}"
        yield _failed("source schema", lacking, f"GRANT USAGE ON SCHEMA {schema} TO {role};")
    for (name,) in denied:
        table = sql.Identifier(scope.schema, name).as_string(connection)
        lacking = f"{user} may not read {name}"
        yield _failed("source privileges", lacking, f"GRANT SELECT ON {table} TO {role};")
    for function in missing_grants(connection):
        lacking = f"{user} may not execute a function that a capture needs"
        yield _failed("source privileges", lacking, function)
    hidden = connection.execute(
        "SELECT relname FROM pg_class WHERE oid = ANY(%s) AND row_security_active(oid) ORDER BY 1",
        [oids],
    ).fetchall()
    for (name,) in hidden:
        lacking = f"row-level security may hide rows of {name} from {user}"
        advice = f"ALTER ROLE {role} BYPASSRLS; or exclude it with TOTES_EXCLUDE_TABLES."
        yield _failed("source privileges", lacking, advice)
    if usage and not denied and not hidden and catalogue.tables:
        yield Finding("source privileges", f"{user} may read all {len(catalogue.tables)} tables")


def _store(what: str, store: Store) -> Iterator[Finding]:
    """Write, read back, list and try to overwrite; where the store fails, LakeError says so."""
    store.create(PROBE, _PROBE_CONTENT)
    if store.get(PROBE) != _PROBE_CONTENT or PROBE not in store.list("check/"):
        advice = "use a store that keeps what is written."
        yield _failed(what, f"{store.url} gives back something else than was written", advice)
    elif store.create(PROBE, _OTHER_CONTENT) or store.get(PROBE) != _PROBE_CONTENT:
        store.create(PROBE, _PROBE_CONTENT)  # which the next check expects
        found = f"{store.url} overwrites objects that it should only create"
        yield _failed(what, found, "use a store that supports conditional writes (If-None-Match).")
    else:
        yield Finding(what, f"{store.url} can be written, read and listed, and overwrites nothing")


def _warehouse(places: Places, clocks: dict[str, timedelta]) -> Iterator[Finding]:
    with warehouse_session.connect(places.warehouse) as connection:
        clocks["warehouse"] = _clock(connection)
        yield Finding("warehouse", f"{places.warehouse}, {_version(connection)}")
        last = newest_batch(places.ingestion)
        if last and warehouse_session.is_database(connection, last[0].identity):
            advice = "name another database in TOTES_WAREHOUSE_DSN."
            yield _failed("warehouse", "it is the database that is ingested", advice)
        yield from _writable(connection)
        [(ours, owner)] = connection.execute(
            "SELECT coalesce(has_schema_privilege(to_regnamespace('totes'), 'USAGE'), true),"
            " (SELECT quote_ident(pg_get_userbyid(nspowner)) FROM pg_namespace"
            " WHERE nspname = 'totes')"
        ).fetchall()
        if not ours:
            yield _failed(
                "warehouse privileges",
                *_not_owner(connection, "schema totes and its tables belong", owner),
            )
            return
        if not is_made(connection):
            yield from _empty_warehouse(connection, places.star)
        else:
            check_contract(connection, places.star)
            yield Finding("warehouse tables", "as the contract says")
            rights = list(_loader_rights(connection, places.star))
            yield from rights or _dependents(connection, places.star)


def _writable(connection: Connection[Any]) -> Iterator[Finding]:
    [(standby, read_only)] = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::bool"
    ).fetchall()
    if standby:
        advice = "name the primary server in TOTES_WAREHOUSE_DSN."
        yield _failed("warehouse", "it is a standby, which can't be written to", advice)
    elif read_only:
        advice = "set default_transaction_read_only = off for this role, database or server."
        yield _failed("warehouse", "it is read-only", advice)


_EMPTY = """
WITH place AS (
    SELECT coalesce(
        current_schema(),
        -- The path has a schema that this role may not use.
        (SELECT min(nspname::text) FROM pg_namespace WHERE nspname = ANY (
            string_to_array(translate(current_setting('search_path'), '" ', ''), ',')))
    ) AS name
)
SELECT
    quote_ident(current_database()),
    quote_ident(name),
    current_setting('search_path'),
    has_database_privilege(current_database(), 'CREATE'),
    has_database_privilege(current_database(), 'TEMPORARY'),
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
    to_regrole(%(reader)s) IS NOT NULL
        OR (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user),
    ARRAY(
        SELECT format(
            'schema %%I already has %%s', nspname, string_agg(relname, ', ' ORDER BY relname)
        )
        FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
        WHERE (nspname = place.name AND relname = ANY (%(stars)s))
            OR (nspname = 'totes' AND relname <> 'migrations' AND relkind NOT IN ('i', 'S'))
        GROUP BY nspname
        ORDER BY 1
    )
FROM place
"""


def _empty_warehouse(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """May the loader make what is not there yet?"""
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    [(database, schema, path, may_create, may_copy, may_enter, reader, taken)] = connection.execute(
        _EMPTY, {"reader": READER, "stars": list(star.tables)}
    ).fetchall()
    if schema is None:
        found = f"no schema of search_path exists; search_path is {path or 'empty'}"
        yield _failed("warehouse schema", found, "CREATE SCHEMA, or correct search_path.")
        return
    for found in taken:
        advice = "drop or rename them, or use another database or schema (search_path)."
        text = f"{found}, not created by the platform"
        yield _failed("warehouse tables", text, advice)
    for allowed, lacking, remedy in (
        (
            may_create,
            f"{user} may not make schema totes in database {database}",
            f"GRANT CREATE ON DATABASE {database} TO {role};",
        ),
        (may_copy, *_no_temporary_tables(user, database, role)),
        (
            may_enter,
            f"{user} may not make tables in schema {schema}",
            f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};",
        ),
        (reader, f"role {READER} is missing and {user} may not make it", f"CREATE ROLE {READER};"),
    ):
        if not allowed:
            yield _failed("warehouse privileges", lacking, remedy)
    if may_create and may_copy and may_enter and reader and not taken:
        yield Finding("warehouse tables", "none yet: the first `totes run` makes them")


def _loader_rights(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """May the loader write what is there? Only owners can migrate and replay, so it must be one."""
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    [(database, may_copy, owners)] = connection.execute(
        "SELECT quote_ident(current_database()),"
        " has_database_privilege(current_database(), 'TEMPORARY'),"
        " ARRAY(SELECT DISTINCT quote_ident(pg_get_userbyid(relowner)) FROM pg_class"
        " WHERE relkind IN ('r', 'p') AND NOT pg_has_role(relowner, 'USAGE')"
        " AND (relnamespace = 'totes'::regnamespace OR oid = ANY ("
        "SELECT to_regclass(quote_ident(star)) FROM unnest(%s::text[]) AS star)) ORDER BY 1)",
        [list(star.tables)],
    ).fetchall()
    for owner in owners:
        yield _failed("warehouse privileges", *_not_owner(connection, "tables belong", owner))
    if not may_copy:
        yield _failed("warehouse privileges", *_no_temporary_tables(user, database, role))


def _not_owner(connection: Connection[Any], what: str, owner: str) -> tuple[str, str]:
    user = connection.info.user
    role = sql.Identifier(user).as_string(connection)
    return (
        f"{what} to {owner}, and {user} may not load them",
        f"use that role in TOTES_WAREHOUSE_DSN, or GRANT {owner} TO {role};",
    )


def _dependents(connection: Connection[Any], star: Star) -> Iterator[Finding]:
    """Objects that users built on the tables and that stop a load or a rebuild."""
    for obstacle in obstacles(connection, star):
        stops = "stops every rebuild" if obstacle.only_rebuild else "stops every load"
        yield _failed("warehouse tables", f"{obstacle.found}: {stops}", f"{obstacle.remedy}.")


def _no_temporary_tables(user: str, database: str, role: str) -> tuple[str, str]:
    return (
        f"{user} may not make temporary tables in database {database}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {role};",
    )


def _rates(url: str) -> Finding:
    """Can the rates be had that TOTES_RATES_URL names? Without them, those known go on."""
    try:
        days = published_at(url)
    except UNREADABLE as error:
        found = f"none from {place(url)}: {str(error)[:200] or type(error).__name__}"
        return _failed("exchange rates", found, "correct TOTES_RATES_URL, or leave it out.")
    return Finding("exchange rates", f"from {place(url)}, up to {max(days)}")


def _clocks(ahead: dict[str, timedelta]) -> Iterator[Finding]:
    for what, by in ahead.items():
        seconds = abs(by).total_seconds()
        if abs(by) <= CLOCKS_APART:
            yield Finding(f"{what} clock", f"{seconds:.1f} s from this machine's")
        else:
            found = f"{seconds:.0f} s {'ahead of' if by > timedelta() else 'behind'} this machine's"
            yield _failed(f"{what} clock", found, "set both by NTP.")


def _clock(connection: psycopg.Connection[Any]) -> timedelta:
    """How far the server's clock is ahead of this machine's."""
    asked = datetime.now(UTC)
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    there: datetime = row[0] if row else asked
    return there - (asked + (datetime.now(UTC) - asked) / 2)


def _version(connection: psycopg.Connection[Any]) -> str:
    version = connection.info.server_version
    return f"PostgreSQL {version // 10000}.{version % 100}"
