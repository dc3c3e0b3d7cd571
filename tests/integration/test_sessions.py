"""No default of server, role, DSN or environment changes a value; poolers are detected."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installation import Installation
from psycopg import sql
from replicas import open_reading

from conftest import EmptyWarehouse, Fresh, Totesys
from totes.config.dsn import Dsn
from totes.dashboard import metrics
from totes.dashboard.bookkeeping import refuse_writers
from totes.embedded.servers import EmbeddedServer
from totes.error_policy import retry
from totes.errors import SourceError, WarehouseError
from totes.postgres import session
from totes.postgres.session import SETTINGS, keep_sessions
from totes.source import session as source_session
from totes.star.folder import TOTESYS
from totes.warehouse.connection import connect

pytestmark = pytest.mark.few(1)

HOSTILE = {
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "client_min_messages": "debug1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "10s",
    "transaction_timeout": "10s",
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "check_function_bodies": "off",
    "row_security": "off",
    "jit_above_cost": "0",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_sort": "off",
    "debug_parallel_query": "on",
    "gin_fuzzy_search_limit": "1",
    "backslash_quote": "on",
    "work_mem": "64kB",
}

ENVIRONMENT = {
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "SQL, DMY",
    "PGTZ": "Asia/Kathmandu",
    "PGGEQO": "off",
    "PGHOSTADDR": "192.0.2.1",
    "PGAPPNAME": "other",
    "PGOPTIONS": "-c extra_float_digits=-15 -c intervalstyle=sql_standard",
}

SHADOWS = """
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    RETURN timestamptz 'epoch';
CREATE FUNCTION hostile.length(varchar) RETURNS int LANGUAGE sql RETURN 0;
CREATE TABLE hostile.dim_staff (staff_id text);
CREATE TABLE hostile.staff (staff_id text);
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA hostile TO PUBLIC;
"""

ODD = r"""
CREATE TABLE odd (
    odd_id int PRIMARY KEY, took interval, ratio float8, raw bytea, price money,
    day date, at timestamptz, tags text[]
);
INSERT INTO odd VALUES (
    1, '1 year -2 months 3 days 04:05:06.789', 0.1::float8 + 0.2, '\x00ff5c27', 1234.5,
    '2026-02-03', '2026-02-03 04:05:06+07', ARRAY['NULL', NULL, 'a\b', 'it''s "é"']
);
GRANT SELECT ON odd TO totes_ingest;
UPDATE staff SET first_name = E'Café \\n \\\\ "Ünal"', last_name = 'O''Brien 日本';
"""


@pytest.mark.bare
def test_all_commands_have_the_same_results_under_hostile_and_usual_defaults(
    fresh: Fresh, warehouse: EmptyWarehouse, copied: Callable[[Dsn], Dsn], tmp_path: Path
) -> None:
    results = []
    others = [copied(warehouse.dsn) for _ in range(3)]
    for name, loader, other in (
        ("usual", warehouse.dsn, others[0]),
        ("hostile", others[1], others[2]),
    ):
        with fresh() as totesys:
            installation = Installation(totesys.owner, totesys.dsn, loader, tmp_path / name)
            if name == "hostile":
                for database in (totesys.admin, *(_superuser(dsn) for dsn in (loader, other))):
                    _set_hostile_defaults(database)
                installation = _with_hostile_dsns(installation)
                other = other.replace(client_encoding="LATIN1")  # noqa: PLW2901
            results.append(_run_all_commands(installation, totesys.admin, other))
    usual, hostile = results
    assert "Ünal" in str(usual["star"])
    for part, expected in usual.items():
        assert hostile[part] == expected, part


def _set_hostile_defaults(admin: Dsn) -> None:
    """Set hostile defaults for the platform's roles in this database."""
    with psycopg.connect(admin.reveal()) as connection:
        connection.execute(SHADOWS)
        for role in ("totesys_app", "totes_ingest", "totes_loader", "totes_dashboard"):
            settings = {**HOSTILE, "search_path": "public, hostile, pg_catalog"}
            if role in {"totes_ingest", "totes_dashboard"}:
                settings["default_transaction_read_only"] = "on"
            for name, value in settings.items():
                path = sql.SQL(value) if name == "search_path" else sql.Literal(value)
                connection.execute(
                    sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                        sql.Identifier(role),
                        sql.Identifier(connection.info.dbname),
                        sql.Identifier(name),
                        path,
                    )
                )


def _with_hostile_dsns(installation: Installation) -> Installation:
    """Return the installation with hostile DSNs and a hostile environment."""
    dsns = {"client_encoding": "LATIN1", "options": "-c DateStyle=German"}
    return replace(
        installation,
        owner=installation.owner.replace(**dsns),
        source=installation.source.replace(**dsns),
        warehouse=installation.warehouse.replace(**dsns),
        settings=ENVIRONMENT,
    )


def _superuser(dsn: Dsn) -> Dsn:
    return Dsn(
        " ".join(f"{part}={dsn.parts[part]}" for part in ("host", "port", "dbname"))
        + " user=postgres client_encoding=UTF8"
    )


def _run_all_commands(installation: Installation, admin: Dsn, other: Dsn) -> dict[str, Any]:
    """Run every command on the same data; return the results."""

    def totes(*arguments: str) -> str:
        result = installation.totes(*arguments)
        assert result.exit_code == 0, (installation.folder.name, arguments, result.output)
        return result.stdout

    totes("simulate", "--orders", "40", "--into", installation.owner.reveal())
    with psycopg.connect(admin.reveal()) as connection:
        connection.execute(ODD.encode())
    totes("check")
    totes("run", "--once")
    with psycopg.connect(admin.reveal()) as connection:
        connection.execute("UPDATE sales_order SET units_sold = 7 WHERE sales_order_id < 9")
        connection.execute("UPDATE currency SET currency_code = 'é' WHERE currency_id = 1")
    for stage in ("ingest", "transform", "load"):
        totes(stage)
    quarantine = totes("quarantine", "list") + totes("quarantine", "show")
    assert '"equal": true' in totes("verify", "--json")
    with psycopg.connect(admin.reveal()) as connection:
        connection.execute("UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 1")
    totes("run", "--once")
    totes("warehouse", "migrate")
    totes("replay")
    totes("replay", "--into", other.reveal())
    erased = str(installation.folder / "erased")
    totes("erase", "staff", "1", "--columns", "last_name", "--into", erased)
    totes("gc")
    totes("check")
    assert '"equal": true' in totes("verify", "--json")
    reader = _superuser(installation.warehouse).replace(user="totes_dashboard")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in installation.settings.items():
            patched.setenv(name, value)
        refuse_writers(reader)
        with open_reading(reader) as reading:
            page = metrics.choices(reading)
    return {
        "star": _star(_superuser(installation.warehouse)),
        "other star": _star(_superuser(other)),
        "lake": sorted(_rows(installation.ingestion)),
        "erased lake": sorted(_rows(installation.folder / "erased")),
        "quarantine": quarantine,
        "stages": [stage["rows"] for stage in json.loads(totes("status", "--json"))["stages"]],
        "page": (page.currencies, page.countries, page.counterparties, page.first_day, page.today),
    }


def _star(admin: Dsn) -> dict[str, list[Any]]:
    """Return all rows of the star, without surrogate keys and times."""
    rows_by_table = {}
    with psycopg.connect(admin.reveal()) as connection:
        for star in TOTESYS.tables.values():
            ignored_columns = [
                star.surrogate.name if star.surrogate else "",
                "valid_from",
                "valid_to",
            ]
            rows = connection.execute(
                sql.SQL("SELECT (to_jsonb(t) - %s::text[])::text FROM {} AS t ORDER BY 1").format(
                    sql.Identifier("public", star.name)
                ),
                [ignored_columns],
            )
            rows_by_table[star.name] = rows.fetchall()
    return rows_by_table


def _rows(lake: Path) -> Iterator[str]:
    """Yield every line of the ingestion store, without transaction ids."""
    for path in lake.rglob("*.jsonl.gz"):
        unpacked = subprocess.run(["/bin/zcat", path], check=True, capture_output=True).stdout
        for line in unpacked.decode().splitlines():
            yield json.dumps({k: v for k, v in json.loads(line).items() if k != "_xid"})


def test_every_session_has_its_settings_despite_role_and_environment(
    totesys: Totesys, warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for database in (totesys.admin, warehouse.admin):
        _set_hostile_defaults(database)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    source_settings = set(source_session.SETTINGS)
    with source_session.connect(totesys.dsn) as source, connect(warehouse.dsn) as loaded:
        for connection in (source, loaded):
            for name, value in HOSTILE.items():
                if name in SETTINGS.keys() - source_settings:
                    [(actual,)] = connection.execute("SELECT current_setting(%s)", [name])
                    assert actual != value, name


# Poolers


@dataclass(frozen=True)
class Pooler:
    """A pgbouncer in front of the test server."""

    server: EmbeddedServer
    folder: Path

    def start(self, mode: str) -> subprocess.Popen[bytes]:
        roles = ("totes_loader", "totes_ingest", "totes_dashboard", "totesys_app")
        (self.folder / "users").write_text("".join(f'"{role}" ""\n' for role in roles))
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self.server.dsn.parts['host']} port=5432\n"
            f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {self.folder}\nlisten_port = 6432\n"
            f"auth_type = trust\nauth_file = {self.folder}/users\npool_mode = {mode}\n"
        )
        for path in (self.folder, *self.folder.iterdir()):
            path.chmod(0o777)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return subprocess.Popen(
            [str(_pgbouncer()), "-q", *user, str(self.folder / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def pooled(self, dsn: Dsn) -> Dsn:
        return dsn.replace(host=str(self.folder), port="6432")


def _pgbouncer() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@pytest.fixture(params=["session", "transaction"])
def pooler(
    request: pytest.FixtureRequest, server: EmbeddedServer, scratch: Path
) -> Iterator[tuple[str, Pooler]]:
    if _pgbouncer() is None:
        pytest.skip("pgbouncer is not installed")
    pool = Pooler(server, Path(tempfile.mkdtemp(dir=scratch)))
    process = pool.start(request.param)
    try:
        yield request.param, pool
    finally:
        process.terminate()
        process.wait()


def test_a_pooler_in_session_mode_works_and_one_in_transaction_mode_is_rejected(
    installation: Installation, warehouse: EmptyWarehouse, pooler: tuple[str, Pooler]
) -> None:
    mode, pool = pooler
    loader, reader = pool.pooled(installation.warehouse), pool.pooled(warehouse.reader)
    source = pool.pooled(installation.source)
    if mode == "session":
        pooled = replace(installation.add_orders(), source=source, warehouse=loader)
        retry(lambda: _connect_once(loader))
        for arguments in (("run", "--once"), ("verify",), ("check",), ("status",)):
            result = pooled.totes(*arguments)
            assert result.exit_code == 0, result.output
        with open_reading(reader) as reading:
            assert metrics.choices(reading).currencies
    else:
        for dsn in (loader, reader):
            with pytest.raises(WarehouseError, match=r"in transaction mode, .*session mode"):
                retry(partial(_connect_once, dsn))
        with (
            pytest.raises(SourceError, match="in transaction mode"),
            source_session.connect(source),
        ):
            pass


def _connect_once(dsn: Dsn) -> None:
    with connect(dsn) as connection:
        connection.execute("SELECT 1")


def backend_of(connection: psycopg.Connection[Any]) -> int:
    return connection.info.backend_pid


def test_sessions_are_kept_and_closed_at_the_end(warehouse: EmptyWarehouse) -> None:
    with keep_sessions():
        with connect(warehouse.dsn) as first, connect(warehouse.dsn) as second:
            both = {backend_of(first), backend_of(second)}
        with connect(warehouse.dsn) as first, connect(warehouse.dsn) as second:
            assert {backend_of(first), backend_of(second)} == both
    assert first.closed
    assert second.closed
    with connect(warehouse.dsn) as later:
        pass
    assert later.closed


def test_a_kept_session_has_nothing_of_its_last_use(warehouse: EmptyWarehouse) -> None:
    """Such as staging tables with the columns of a star that has been upgraded since."""
    with keep_sessions():
        with connect(warehouse.dsn) as connection:
            first = backend_of(connection)
            connection.execute("CREATE TABLE things (id int)")
            connection.execute("CREATE TEMP TABLE staged (id int)")
            for _ in range(10):  # psycopg prepares it
                connection.execute("SELECT * FROM things")
        with psycopg.connect(warehouse.dsn.reveal()) as other:
            other.execute("ALTER TABLE things ADD name text")
        with connect(warehouse.dsn) as connection:
            assert backend_of(connection) == first
            connection.execute("CREATE TEMP TABLE staged (id int, name text)")
            assert connection.execute("SELECT * FROM things").fetchall() == []


def test_a_session_that_ended_or_failed_is_replaced(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute_and_find_backend(statement: str = "SELECT 1") -> int:
        with connect(warehouse.dsn) as connection:
            connection.execute(statement.encode())
            return backend_of(connection)

    with keep_sessions():
        first = execute_and_find_backend()
        with psycopg.connect(warehouse.admin.reveal(), autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
        second = execute_and_find_backend()
        assert second != first
        with pytest.raises(WarehouseError):
            execute_and_find_backend("SELECT * FROM nowhere")
        third = execute_and_find_backend()
        assert third != second
        monkeypatch.setattr(session, "_MAX_AGE_SECONDS", 0.0)
        assert execute_and_find_backend() != third
