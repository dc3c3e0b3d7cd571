"""Errors of the databases name source or warehouse, with exit code and advice."""

from pathlib import Path

import psycopg
import pytest
from installation import Installation
from psycopg import errors
from replicas import open_reading

from conftest import ClusterFactory, EmptyWarehouse, Totesys
from totes.config.dsn import Dsn
from totes.dashboard.bookkeeping import open_bookkeeping, refuse_writers
from totes.embedded.servers import prepare_warehouse
from totes.errors import SourceError, UsageError, WarehouseError
from totes.postgres.session import SOURCE, WAREHOUSE
from totes.postgres.sqlstate import MEANINGS, meaning, message_with_advice
from totes.source.session import connect as connect_source
from totes.warehouse.connection import connect

pytestmark = pytest.mark.few(7)

RUNNING = Path(__file__).parents[2] / "docs" / "running.md"


def execute(admin: Dsn, statements: str) -> None:
    database = psycopg.conninfo.conninfo_to_dict(admin.reveal())["dbname"]
    with psycopg.connect(admin.reveal(), autocommit=True) as connection:
        for statement in statements.replace("{database}", str(database)).split(";;"):
            connection.execute(statement.encode())


def trigger(body: str) -> str:
    return (
        "CREATE FUNCTION strict() RETURNS trigger LANGUAGE plpgsql"
        f" AS $$BEGIN {body} RETURN NEW; END$$;;"
        "CREATE TRIGGER strict BEFORE INSERT OR UPDATE ON dim_design"
        " FOR EACH ROW EXECUTE FUNCTION strict();;"
        "ALTER TABLE dim_design ENABLE ALWAYS TRIGGER strict"
    )


ALTERED = {
    "a trigger that raises an exception": (
        trigger("RAISE EXCEPTION 'not today';"),
        "not today, raised by PL/pgSQL function strict",
    ),
    "a trigger that fails": (
        trigger("PERFORM 1 / 0;"),
        "division by zero, raised by PL/pgSQL function strict",
    ),
    "a check constraint": (
        "ALTER TABLE dim_design ADD CONSTRAINT short CHECK (length(design_name) < 2) NOT VALID",
        'violates check constraint "short": drop the constraint',
    ),
    "a unique constraint": (
        "ALTER TABLE fact_sales_order ADD CONSTRAINT once UNIQUE (sales_order_id)",
        'constraint "once" in table fact_sales_order (Key (sales_order_id)=(1) already exists)',
    ),
    "a table dropped": (
        "DROP TABLE totes.quarantine CASCADE",
        "does not exist: the object was altered",
    ),
    "a column dropped": (
        "ALTER TABLE totes.batches DROP COLUMN rows CASCADE",
        "does not exist: the object was altered",
    ),
    "a column of the platform's own trigger renamed": (
        "ALTER TABLE totes.changes RENAME COLUMN key TO name",
        'column "key" of relation "changes" does not exist: the object was altered',
    ),
    "another owner": (
        "REVOKE ALL ON dim_design FROM totes_loader;;ALTER TABLE dim_design OWNER TO postgres",
        "permission denied for table dim_design",
    ),
    "row-level security": (
        (
            "ALTER TABLE dim_design ENABLE ROW LEVEL SECURITY;;"
            "ALTER TABLE dim_design FORCE ROW LEVEL SECURITY"
        ),
        "use ALTER TABLE NO FORCE ROW LEVEL SECURITY",
    ),
    "a publication without identity": (
        (
            "ALTER TABLE dim_design REPLICA IDENTITY NOTHING;;"
            "CREATE PUBLICATION everything FOR TABLE dim_design"
        ),
        "set REPLICA IDENTITY using ALTER TABLE",
    ),
    "a read-only database": (
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "it is read-only or a standby",
    ),
    "another transaction_timeout": (
        (
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
            " AS $$BEGIN SET LOCAL transaction_timeout = '1ms'; PERFORM pg_sleep(1); END$$;;"
            "CREATE TRIGGER slow BEFORE UPDATE ON fact_sales_order EXECUTE FUNCTION slow();;"
            "ALTER TABLE fact_sales_order ENABLE ALWAYS TRIGGER slow"
        ),
        "transaction timeout",
    ),
}


@pytest.mark.few(2)
@pytest.mark.parametrize(("statements", "message"), ALTERED.values(), ids=ALTERED)
def test_verify_and_load_name_the_warehouse_in_its_errors(
    installation: Installation,
    totesys: Totesys,
    warehouse: EmptyWarehouse,
    statements: str,
    message: str,
) -> None:
    installation.add_orders().run()
    execute(totesys.admin, "UPDATE design SET design_name = 'other'")
    execute(totesys.admin, "UPDATE sales_order SET units_sold = units_sold + 1")
    execute(warehouse.admin, statements)
    for command in (("verify",), ("load",)):
        result = installation.totes(*command)
        assert result.exit_code == 5, (result.output, result.exception)
        assert result.stderr.splitlines()[-1].startswith("totes: The warehouse ")
        assert message in result.stderr


def test_verify_names_the_source_in_its_errors(
    installation: Installation, totesys: Totesys
) -> None:
    """Also while a session of the warehouse is open."""
    installation.add_orders().run()
    execute(totesys.admin, "ALTER TABLE currency RENAME currency_code TO code")
    result = installation.totes("verify")
    assert result.exit_code in {3, 6}, result.output
    with (
        pytest.raises(SourceError, match=r"The source .*does not exist"),
        connect_source(totesys.dsn) as source,
        connect(installation.warehouse),
    ):
        source.execute("SELECT FROM public.nowhere")
    with (
        pytest.raises(WarehouseError, match=r"The warehouse .*does not exist"),
        connect(installation.warehouse) as warehouse,
        connect_source(totesys.dsn),
    ):
        warehouse.execute("SELECT FROM nowhere")


def test_an_unexpected_error_of_the_warehouse_is_raised_unchanged(
    installation: Installation, totesys: Totesys
) -> None:
    with (
        pytest.raises(errors.SyntaxError),
        connect_source(totesys.dsn),
        connect(installation.warehouse) as warehouse,
    ):
        warehouse.execute("SELEC")


def test_an_unexpected_error_of_the_source_is_raised_unchanged(totesys: Totesys) -> None:
    with pytest.raises(errors.SyntaxError), connect_source(totesys.dsn) as source:
        source.execute("SELEC")


def test_a_value_that_cannot_be_read_is_an_error_of_the_source(totesys: Totesys) -> None:
    with (
        pytest.raises(SourceError, match=r"The source .* can't be read: division by zero"),
        connect_source(totesys.dsn) as source,
    ):
        source.execute("SELECT 1 / 0")


@pytest.mark.few(1)
@pytest.mark.bare
@pytest.mark.parametrize("kind", ["TABLE dim_date (id int)", "VIEW dim_date AS SELECT 1 AS id"])
def test_check_reports_a_name_conflict(
    installation: Installation, warehouse: EmptyWarehouse, kind: str
) -> None:
    execute(warehouse.admin, f"CREATE {kind}")
    checked = installation.add_orders().totes("check")
    assert "schema public already has dim_date" in checked.stdout
    result = installation.totes("run", "--once")
    assert result.exit_code == 5
    assert "already has dim_date, not created by the platform: drop or rename" in result.stderr
    assert "schema public already has dim_date" in installation.totes("check").stdout


@pytest.mark.bare
def test_check_reports_a_name_conflict_in_schema_totes(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    execute(warehouse.dsn, "CREATE SCHEMA totes; CREATE TABLE totes.batches (id int)")
    checked = installation.add_orders().totes("check")
    assert checked.exit_code == 1
    assert "schema totes already has batches" in checked.stdout
    assert installation.totes("run", "--once").exit_code == 5


@pytest.mark.bare
def test_check_reports_a_schema_totes_of_another_owner(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    execute(warehouse.admin, "CREATE SCHEMA totes")
    checked = installation.add_orders().totes("check")
    assert checked.exit_code == 1
    assert "GRANT postgres TO" in checked.stdout
    assert installation.totes("run", "--once").exit_code == 5


@pytest.mark.bare
def test_the_star_is_in_the_default_schema_of_the_dsn(
    installation: Installation, warehouse: EmptyWarehouse
) -> None:
    other_schema = Installation(
        installation.owner,
        installation.source,
        installation.warehouse.replace(options='-c search_path="DWH"'),
        installation.folder,
    )
    assert 'search_path is "DWH"' in other_schema.add_orders().totes("check").stdout
    result = other_schema.totes("run", "--once")
    assert result.exit_code == 5
    assert 'search_path, which is "DWH"' in result.stderr
    execute(warehouse.admin, 'CREATE SCHEMA "DWH" AUTHORIZATION totes_loader')
    execute(warehouse.admin, "CREATE TABLE public.dim_date (id int)")
    several = Installation(
        installation.owner,
        installation.source,
        installation.warehouse.replace(options='-c search_path=nowhere,"DWH",public'),
        installation.folder,
    )
    for command in (("check",), ("run", "--once"), ("check",), ("verify",), ("replay",)):
        result = several.totes(*command)
        assert result.exit_code == 0, (command, result.output)
    assert several.query("SELECT count(*) FROM dim_date")[0][0] > 0
    reader = warehouse.reader.replace(options='-c search_path="DWH"')
    refuse_writers(reader)
    with open_bookkeeping(reader) as bookkeeping:
        assert bookkeeping.rows("dictionary_columns", names=["dim_date"])


@pytest.mark.few(1)
@pytest.mark.bare
@pytest.mark.parametrize("path", ["", "nowhere", "pg_catalog"])
def test_a_dsn_without_a_default_schema_is_rejected(installation: Installation, path: str) -> None:
    without_schema = Installation(
        installation.owner,
        installation.source,
        installation.warehouse.replace(options=f"-c search_path={path}"),
        installation.folder,
    ).add_orders()
    assert without_schema.totes("check").exit_code == 1
    for command in (("run", "--once"), ("warehouse", "migrate"), ("verify",)):
        result = without_schema.totes(*command)
        assert result.exit_code == 5, (command, result.output)
        assert "has no default schema" in result.stderr


@pytest.mark.bare
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_warehouse_with_another_encoding_than_utf8_is_rejected(
    installation: Installation, warehouse: EmptyWarehouse, encoding: str
) -> None:
    name = f"{warehouse.dsn.parts['dbname']}_{encoding.lower()}"
    execute(
        warehouse.admin,
        f"CREATE DATABASE {name} OWNER totes_loader ENCODING '{encoding}' LOCALE 'C'"
        " LOCALE_PROVIDER libc TEMPLATE template0",
    )
    try:
        narrow = Installation(
            installation.owner,
            installation.source,
            warehouse.dsn.replace(dbname=name),
            installation.folder,
        ).add_orders()
        assert narrow.totes("check").exit_code == 1
        for command in (("warehouse", "migrate"), ("run", "--once")):
            result = narrow.totes(*command)
            assert result.exit_code == 5
            assert f"has encoding {encoding}" in result.stderr
            assert "ENCODING 'UTF8'" in result.stderr
    finally:
        execute(warehouse.admin, f"DROP DATABASE {name} WITH (FORCE)")


def test_a_standby_is_read_but_not_loaded(
    installation: Installation, cluster: ClusterFactory
) -> None:
    primary = cluster()
    warehouse = prepare_warehouse(primary.dsn)
    on_primary = Installation(
        installation.owner, installation.source, warehouse.loader, installation.folder
    ).add_orders()
    on_primary.run()
    standby = cluster(standby_of=primary)
    loader = warehouse.loader.replace(host=str(standby.dsn.parts["host"]))
    on_standby = Installation(installation.owner, installation.source, loader, installation.folder)
    assert "it is a standby" in on_standby.totes("check").stdout
    assert on_standby.totes("status").exit_code == 0
    with open_reading(warehouse.reader.replace(host=str(standby.dsn.parts["host"]))) as reading:
        assert reading.state.batch == 1
    installation.change("UPDATE design SET design_name = 'other'")
    result = on_standby.totes("run", "--once")
    assert result.exit_code == 5
    assert "it is read-only or a standby: use the primary" in result.stderr


def test_a_schema_in_which_every_role_may_create_is_rejected(
    warehouse: EmptyWarehouse,
) -> None:
    refuse_writers(warehouse.reader)
    execute(warehouse.admin, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    with pytest.raises(UsageError, match="`REVOKE CREATE ON SCHEMA public FROM PUBLIC`"):
        refuse_writers(warehouse.reader)
    execute(warehouse.admin, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    execute(warehouse.admin, "GRANT UPDATE (design_name) ON dim_design TO totes_dashboard")
    with pytest.raises(
        UsageError,
        match="may write to dim_design, but it should only read: set TOTES_DASHBOARD_DSN",
    ):
        refuse_writers(warehouse.reader)


@pytest.mark.bare
def test_load_creates_the_tables_of_an_empty_warehouse(installation: Installation) -> None:
    for stage in ("ingest", "transform", "load"):
        result = (
            installation.add_orders().totes(stage)
            if stage == "ingest"
            else installation.totes(stage)
        )
        assert result.exit_code == 0, result.output
    assert installation.query("SELECT count(*) FROM totes.batches") == [(1,)]


EXPECTED = (
    "08006 0A000 22021 22P05 23505 23503 23502 23514 25006 25P03 25P04 28P01 2BP01 3D000 3F000"
    " 40001 40P01 42501 42703 42P01 42P07 53100 53200 53300 53400 54000 55P03 57014 57P01 57P05"
    " 58030 72000 XX001"
)


@pytest.mark.parametrize("code", EXPECTED.split())
def test_an_expected_sqlstate_has_advice_and_the_exit_code_of_its_database(code: str) -> None:
    error = errors.lookup(code)("It fails.")
    expected = meaning(error)
    assert expected is not None
    assert message_with_advice(error) == f"It fails: {expected.advice}"
    assert (SOURCE.error_class(error).exit_code, WAREHOUSE.error_class(error).exit_code) == (3, 5)


@pytest.mark.parametrize("code", ["42601", "22012", "XX000", "42803"])
def test_an_sqlstate_that_only_a_bug_causes_has_no_advice(code: str) -> None:
    assert meaning(errors.lookup(code)("It fails.")) is None


def test_the_documented_table_of_sqlstates_is_that_of_the_program() -> None:
    codes: dict[tuple[str, bool], list[str]] = {}
    for code, expected in MEANINGS.items():
        codes.setdefault((expected.advice, expected.can_retry), []).append(code)
    page = RUNNING.read_text()
    rows = [
        f"| {', '.join(of)} | {'yes' if can_retry else 'no'} | {advice} |"
        for (advice, can_retry), of in codes.items()
    ]
    assert [row for row in rows if row not in page] == []
