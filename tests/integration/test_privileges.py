"""Least privilege: the server denies every statement that a role does not need."""

from collections.abc import Sequence

import psycopg
import pytest
from installation import Installation
from psycopg import errors

from conftest import EmptyWarehouse, Totesys
from totes.config.dsn import Dsn
from totes.errors import SourceError, WarehouseError
from totes.source import session
from totes.warehouse.connection import connect

DENIED = errors.InsufficientPrivilege

EVERYWHERE = (
    "CREATE SCHEMA mine",
    "CREATE TABLE public.mine (a int)",
    "CREATE TABLE mine AS SELECT 1",
    "SELECT 1 INTO mine",
    "CREATE TEMPORARY TABLE mine (a int)",
    "CREATE SEQUENCE public.mine",
    "CREATE VIEW public.mine AS SELECT 1",
    "CREATE TYPE public.mine AS ENUM ()",
    "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE FOREIGN DATA WRAPPER mine",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "CREATE PUBLICATION mine",
    "ALTER SYSTEM SET work_mem = '1GB'",
    "ALTER ROLE postgres NOLOGIN",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')",
    "SELECT pg_switch_wal()",
    "SELECT pg_reload_conf()",
    "SELECT rolpassword FROM pg_authid",
)
"""Statements that no reader of the source or the warehouse may execute."""


def writing_statements(table: str, column: str, sequence: str) -> Sequence[str]:
    """Return statements that change a table or lock it against others."""
    return (
        f"INSERT INTO {table} DEFAULT VALUES",
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"MERGE INTO {table} USING (VALUES (1)) v ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
        f"TRUNCATE {table}",
        f"DROP TABLE {table}",
        f"ALTER TABLE {table} ADD COLUMN mine int",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"CREATE INDEX ON {table} ({column})",
        f"COMMENT ON TABLE {table} IS 'mine'",
        f"COPY {table} FROM PROGRAM 'true'",
        f"SELECT * FROM {table} FOR UPDATE",
        f"SELECT * FROM {table} FOR KEY SHARE",
        f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE",
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        f"SELECT nextval('{sequence}')",
        f"SELECT setval('{sequence}', 1)",
    )


def allowed(dsn: Dsn, statements: Sequence[str]) -> list[str]:
    """Return the statements that the server did not deny; all are rolled back."""
    done = []
    with psycopg.connect(dsn.reveal()) as connection:
        for statement in statements:
            if statement.startswith(("CREATE DATABASE", "ALTER SYSTEM")):
                connection.autocommit = True  # inside a transaction they fail with another error
            try:
                connection.execute(statement.encode())
                done.append(statement)
            except DENIED:
                pass
            finally:
                connection.rollback()
                connection.autocommit = False
    return done


@pytest.fixture
def running_platform(installation: Installation) -> Installation:
    installation.add_orders(5).run()
    return installation


def test_the_source_role_can_change_nothing(installation: Installation) -> None:
    attempts = [*writing_statements("staff", "first_name", "staff_staff_id_seq"), *EVERYWHERE]
    attempts += ["SET ROLE totesys_app", "SET session_replication_role = 'replica'"]
    assert allowed(installation.source, attempts) == []


@pytest.mark.parametrize(
    "attempt",
    [
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "CREATE TEMPORARY TABLE mine (a int)",
        "UPDATE public.staff SET first_name = 'x'",
    ],
)
def test_sessions_of_the_source_are_read_only_beyond_their_privileges(
    installation: Installation, attempt: str
) -> None:
    """PostgreSQL lets every role create large objects; a read-only session prevents it."""
    with (
        pytest.raises(SourceError, match=r"read-only transaction|permission denied"),
        session.connect(installation.source) as connection,
    ):
        connection.execute(attempt.encode())


def test_warehouse_readers_can_read_everything_and_change_nothing(
    running_platform: Installation, warehouse: EmptyWarehouse
) -> None:
    with psycopg.connect(warehouse.reader.reveal()) as reader:
        tables = reader.execute(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('public', 'totes') AND c.relkind IN ('r', 'v')"
        ).fetchall()
        assert len(tables) > 20
        for (table,) in tables:
            reader.execute(f"SELECT * FROM {table} LIMIT 1".encode())
    attempts = [
        *writing_statements("fact_payment", "payment_amount", "fact_payment_payment_record_id_seq"),
        *writing_statements("dim_staff", "first_name", "fact_payment_payment_record_id_seq"),
        *writing_statements("totes.batches", "rows", "fact_payment_payment_record_id_seq"),
        *EVERYWHERE,
        "SET ROLE totes_loader",
        "SET session_replication_role = 'replica'",
    ]
    assert allowed(warehouse.reader, attempts) == []
    assert running_platform.query("SELECT count(*) FROM totes.batches") == [(1,)]


@pytest.mark.usefixtures("warehouse")  # creates the roles of the warehouse
@pytest.mark.parametrize("role", ["totes_ingest", "totes_loader", "totes_dashboard"])
def test_no_role_of_the_platform_has_unneeded_attributes(totesys: Totesys, role: str) -> None:
    with psycopg.connect(totesys.admin.reveal()) as connection:
        [rights] = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = %s",
            [role],
        ).fetchall()
        groups = connection.execute(
            "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = to_regrole(%s)",
            [role],
        ).fetchall()
    assert not any(rights)
    assert groups == ([("totes_reader",)] if role == "totes_dashboard" else [])


def test_each_role_can_connect_only_to_its_own_database(
    totesys: Totesys, warehouse: EmptyWarehouse
) -> None:
    there, here = str(totesys.dsn.parts["dbname"]), str(warehouse.dsn.parts["dbname"])
    with pytest.raises(WarehouseError, match="permission denied for database"):
        connect(warehouse.dsn.replace(dbname=there)).__enter__()
    with (
        pytest.raises(psycopg.OperationalError, match="permission denied for database"),
        psycopg.connect(warehouse.reader.replace(dbname=there).reveal()),
    ):
        pass
    with (
        pytest.raises(SourceError, match="permission denied for database"),
        session.connect(totesys.dsn.replace(dbname=here)),
    ):
        pass


def test_the_loader_owns_its_database_and_has_no_other_privileges(
    warehouse: EmptyWarehouse,
) -> None:
    own = (
        "CREATE SCHEMA",
        "CREATE TABLE",
        "CREATE SEQ",
        "CREATE VIEW",
        "CREATE TYPE",
        "CREATE FUNCTION",
        "CREATE TEMP",
        "CREATE PUBLICATION",
        "SELECT 1 INTO",
    )
    beyond = [statement for statement in EVERYWHERE if not statement.startswith(own)]
    assert allowed(warehouse.dsn, [*beyond, "SET ROLE totes_reader"]) == []
    assert allowed(warehouse.dsn, ["SET session_replication_role = 'replica'"]) != []
