"""The warehouse has the tables, columns and constraints of the published ERDs.

A declaration may add tables and columns to them.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from database import execute, fetch_rows

from conftest import ClusterFactory, EmptyWarehouse
from totes.config.dsn import Dsn
from totes.errors import WarehouseError, WarehouseOutdated
from totes.sql_text import read_sql
from totes.star.folder import TOTESYS, Star, load_star
from totes.warehouse import connection as warehouse_connection
from totes.warehouse import schema
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_schema, migrate

DIMENSIONS = {
    "dim_date": """
        date_id date PK, year integer, month integer, day integer, day_of_week integer,
        day_name character varying, month_name character varying, quarter integer""",
    "dim_staff": """
        staff_id integer PK, first_name character varying, last_name character varying,
        department_name character varying, location character varying null,
        email_address character varying""",
    "dim_location": """
        location_id integer PK, address_line_1 character varying,
        address_line_2 character varying null, district character varying null,
        city character varying, postal_code character varying, country character varying,
        phone character varying""",
    "dim_currency": """
        currency_id integer PK, currency_code character varying, currency_name character varying""",
    "dim_design": """
        design_id integer PK, design_name character varying, file_location character varying,
        file_name character varying""",
    "dim_counterparty": """
        counterparty_id integer PK, counterparty_legal_name character varying,
        counterparty_legal_address_line_1 character varying,
        counterparty_legal_address_line_2 character varying null,
        counterparty_legal_district character varying null,
        counterparty_legal_city character varying,
        counterparty_legal_postal_code character varying,
        counterparty_legal_country character varying,
        counterparty_legal_phone_number character varying""",
    "dim_payment_type": "payment_type_id integer PK, payment_type_name character varying",
    "dim_transaction": """
        transaction_id bigint PK, transaction_type character varying,
        sales_order_id bigint null, purchase_order_id bigint null""",
}

_WRITTEN = """
    created_date date -> dim_date, created_time time without time zone,
    last_updated_date date -> dim_date, last_updated_time time without time zone"""
_HISTORY = "valid_from timestamp with time zone, valid_to timestamp with time zone null"

FACTS = {
    "fact_sales_order": f"""
        sales_record_id bigint PK, sales_order_id bigint, {_WRITTEN},
        sales_staff_id integer -> dim_staff, counterparty_id integer -> dim_counterparty,
        units_sold integer, unit_price numeric(10.2), currency_id integer -> dim_currency,
        design_id integer -> dim_design, agreed_payment_date date -> dim_date,
        agreed_delivery_date date -> dim_date,
        agreed_delivery_location_id integer -> dim_location, {_HISTORY}""",
    "fact_purchase_order": f"""
        purchase_record_id bigint PK, purchase_order_id bigint, {_WRITTEN},
        staff_id integer -> dim_staff, counterparty_id integer -> dim_counterparty,
        item_code character varying, item_quantity integer, item_unit_price numeric,
        currency_id integer -> dim_currency, agreed_delivery_date date -> dim_date,
        agreed_payment_date date -> dim_date,
        agreed_delivery_location_id integer -> dim_location, {_HISTORY}""",
    "fact_payment": f"""
        payment_record_id bigint PK, payment_id bigint, {_WRITTEN},
        transaction_id bigint -> dim_transaction, counterparty_id integer -> dim_counterparty,
        payment_amount numeric, currency_id integer -> dim_currency,
        payment_type_id integer -> dim_payment_type, paid boolean,
        payment_date date -> dim_date, {_HISTORY}""",
    "fact_exchange_rate": f"""
        exchange_rate_record_id bigint PK, rate_id character varying,
        rate_date date -> dim_date, currency_code character varying, rate numeric,
        source character varying, carried_forward boolean, {_HISTORY}""",
}
"""The tables of the published ERDs, but with keys of 64 bits where rows keep coming, and the
platform's own table of exchange rates."""

VIEWS = {
    "current_sales_order": "fact_sales_order",
    "current_purchase_order": "fact_purchase_order",
    "current_payment": "fact_payment",
    "fact_purchase_orders": "fact_purchase_order",
    "current_exchange_rate": "fact_exchange_rate",
}

NATURAL_KEYS = {
    "fact_sales_order": "sales_order_id",
    "fact_purchase_order": "purchase_order_id",
    "fact_payment": "payment_id",
    "fact_exchange_rate": "rate_id",
}


def columns_of(tables: dict[str, str]) -> dict[str, list[str]]:
    """Return `name type` for each column; numeric(10.2) stands for numeric(10,2)."""
    return {
        table: [" ".join(column.split()).replace(".", ",") for column in columns.split(",")]
        for table, columns in tables.items()
    }


def test_the_tables_have_the_columns_of_the_erd(warehouse: EmptyWarehouse) -> None:
    found: dict[str, list[str]] = {}
    for table, *column in fetch_rows(
        warehouse.dsn,
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            CASE WHEN p.contype = 'p' THEN ' PK'
                 WHEN f.contype = 'f' THEN ' -> ' || f.confrelid::regclass::text
                 WHEN NOT a.attnotnull THEN ' null' ELSE '' END
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_constraint p
            ON p.conrelid = c.oid AND p.conkey = ARRAY[a.attnum] AND p.contype = 'p'
        LEFT JOIN pg_constraint f
            ON f.conrelid = c.oid AND f.conkey = ARRAY[a.attnum] AND f.contype = 'f'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        ORDER BY c.relname, a.attnum
        """,
    ):
        name, kind, mark = column
        found.setdefault(table, []).append(f"{name} {kind}{mark}")
    for table, columns in columns_of(DIMENSIONS | FACTS).items():
        names = {column.split()[0] for column in columns}
        assert [column for column in found[table] if column.split()[0] in names] == columns


def test_keys_and_references_are_not_null(warehouse: EmptyWarehouse) -> None:
    nullable = {
        f"{table} {column.split()[0]}": column.endswith(" null")
        for table, columns in columns_of(DIMENSIONS | FACTS).items()
        for column in columns
    }
    found = {
        f"{table} {column}"
        for table, column in fetch_rows(
            warehouse.dsn,
            "SELECT table_name, column_name FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND is_nullable = 'YES'",
        )
    }
    assert {column: column in found for column in nullable} == nullable


def test_the_surrogates_are_serial(warehouse: EmptyWarehouse) -> None:
    for table, columns in columns_of(FACTS).items():
        ((sequence,),) = fetch_rows(
            warehouse.dsn, f"SELECT pg_get_serial_sequence('{table}', '{columns[0].split()[0]}')"
        )
        assert sequence is not None


def test_a_fact_can_not_have_two_current_versions(warehouse: EmptyWarehouse) -> None:
    indexes = [
        definition
        for (definition,) in fetch_rows(warehouse.dsn, "SELECT indexdef FROM pg_indexes ORDER BY 1")
    ]
    for table, key in NATURAL_KEYS.items():
        assert any(
            definition.startswith("CREATE UNIQUE INDEX")
            and definition.endswith(f"{table} USING btree ({key}) WHERE (valid_to IS NULL)")
            for definition in indexes
        ), table


def test_the_views_have_the_erds_columns(warehouse: EmptyWarehouse) -> None:
    for view, table in VIEWS.items():
        found = fetch_rows(
            warehouse.dsn,
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_name = %s ORDER BY ordinal_position",
            view,
        )
        *expected, _from, _to = [column.split()[0] for column in columns_of(FACTS)[table]]
        assert [name for (name,) in found if name in expected] == expected
        assert not {("valid_from",), ("valid_to",)} & {*found}


def test_everything_has_a_comment(warehouse: EmptyWarehouse) -> None:
    without_comment = """
        SELECT c.relname, a.attname FROM pg_class c
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace IN ('public'::regnamespace, 'totes'::regnamespace)
            AND c.relkind IN ('r', 'v')
            AND (obj_description(c.oid) IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        UNION ALL
        SELECT p.proname, NULL FROM pg_proc p
        WHERE p.pronamespace IN ('public'::regnamespace, 'totes'::regnamespace)
            AND obj_description(p.oid, 'pg_proc') IS NULL
    """
    assert fetch_rows(warehouse.dsn, without_comment) == []


# Migrations.


@pytest.mark.bare
def test_migrate_is_idempotent(warehouse: EmptyWarehouse) -> None:
    tables = [f"table {name}" for name in TOTESYS.tables]
    assert migrate(warehouse.dsn) == ["migration 0001_bookkeeping.sql", *tables]
    assert migrate(warehouse.dsn) == []
    with connect(warehouse.dsn) as connection:
        check_schema(connection)


def test_a_later_migration_is_required_and_applied_once(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This program has one migration; a later version adds to it."""
    execute(
        warehouse.dsn,
        "INSERT INTO totes.batches (batch, generation, ingested, captured_at, rows)"
        " VALUES (1, 1, '', now(), 0)",
    )
    later, sql = "0002_later.sql", "ALTER TABLE totes.batches ADD note text DEFAULT 'later'"
    migrations = schema._list_migrations()

    def read_later_sql(package: str, path: str) -> str:
        return sql if later in path else read_sql(package, path)

    monkeypatch.setattr(schema, "_list_migrations", lambda: [*migrations, later])
    monkeypatch.setattr(schema, "read_sql", read_later_sql)
    with (
        pytest.raises(WarehouseOutdated, match=r"0002_later\.sql.*totes warehouse migrate"),
        connect(warehouse.dsn) as connection,
    ):
        check_schema(connection)
    assert migrate(warehouse.dsn) == [f"migration {later}"]
    assert migrate(warehouse.dsn) == []
    assert fetch_rows(warehouse.dsn, "SELECT batch, note FROM totes.batches") == [(1, "later")]
    with connect(warehouse.dsn) as connection:
        check_schema(connection)


def test_a_newer_warehouse_is_an_error(warehouse: EmptyWarehouse) -> None:
    execute(warehouse.dsn, "INSERT INTO totes.migrations (name) VALUES ('9999_future.sql')")
    with pytest.raises(WarehouseError, match=r"9999_future\.sql.*upgrade terrific-totes"):
        migrate(warehouse.dsn)
    with (
        pytest.raises(WarehouseError, match="upgrade terrific-totes"),
        connect(warehouse.dsn) as connection,
    ):
        check_schema(connection)


@pytest.mark.bare
def test_a_warehouse_without_tables_is_an_error(warehouse: EmptyWarehouse) -> None:
    with (
        pytest.raises(WarehouseError, match="no tables yet: run `totes run --once`"),
        connect(warehouse.dsn) as connection,
    ):
        check_schema(connection)


def test_an_old_server_is_an_error(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MIN_SERVER_VERSION", 10**6)
    with pytest.raises(WarehouseError, match="PostgreSQL 15 or newer"):
        migrate(warehouse.dsn)


def test_a_missing_reader_role_is_created_or_an_error(cluster: ClusterFactory) -> None:
    admin = cluster().dsn
    execute(admin, "CREATE ROLE plain LOGIN; CREATE ROLE creator LOGIN CREATEROLE")
    for owner in ("plain", "creator"):
        with psycopg.connect(admin.reveal(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE of_{owner} OWNER {owner}".encode())
    with pytest.raises(WarehouseError, match="`CREATE ROLE totes_reader` as a superuser"):
        migrate(admin.replace(user="plain", dbname="of_plain"))
    assert migrate(admin.replace(user="creator", dbname="of_creator"))
    assert migrate(admin.replace(user="plain", dbname="of_plain"))


def test_concurrent_creation_of_the_reader_role_succeeds(
    cluster: ClusterFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = cluster().dsn
    execute(admin, "CREATE ROLE totes_reader")
    monkeypatch.setattr(schema, "_has_reader_role", lambda _connection: False)
    assert migrate(admin)


ALTERATIONS = {
    "ALTER TABLE dim_staff ALTER first_name TYPE text": "dim_staff .*first_name text",
    "ALTER TABLE dim_staff ALTER first_name DROP NOT NULL": "dim_staff .*first_name .* NULL",
    "ALTER TABLE dim_staff ALTER location SET NOT NULL": "dim_staff .*location",
    "ALTER TABLE dim_staff RENAME first_name TO forename": "dim_staff .*no column first_name",
    "ALTER TABLE dim_design DROP file_name": "dim_design .*no column file_name",
    "ALTER TABLE fact_payment DROP CONSTRAINT fact_payment_currency_id_fkey": (
        "fact_payment .*currency_id .*REFERENCES dim_currency"
    ),
    "ALTER TABLE fact_payment DROP CONSTRAINT fact_payment_pkey": (
        r"fact_payment .*PRIMARY KEY \(payment_record_id\)"
    ),
    "DROP TABLE dim_currency CASCADE": "has no table dim_currency",
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_warehouse_is_an_error_that_names_table_and_column(
    warehouse: EmptyWarehouse, alteration: str
) -> None:
    execute(warehouse.dsn, alteration)
    with (
        pytest.raises(WarehouseError, match=ALTERATIONS[alteration]),
        connect(warehouse.dsn) as connection,
    ):
        check_schema(connection)


def with_declaration(folder: Path, old: str, new: str) -> Star:
    """Return the packaged star with a change in its declaration."""
    shutil.copytree(str(TOTESYS.folder), folder)
    declaration = folder / "star.toml"
    text = declaration.read_text()
    assert text.count(old) == 1
    declaration.write_text(text.replace(old, new))
    return load_star(folder)


LOCATION = 'location = { type = "text", nullable = true, '
COLUMNS = """
    SELECT attrelid::regclass::text, attname, attnum FROM pg_attribute
    WHERE attrelid = 'dim_staff'::regclass AND attnum > 0 ORDER BY 1, 2, 3
"""


@pytest.mark.parametrize("new", ["", LOCATION.replace("location", "place")])
def test_a_column_removed_or_renamed_in_the_declaration_is_rejected(
    warehouse: EmptyWarehouse, tmp_path: Path, new: str
) -> None:
    declaration = (Path(str(TOTESYS.folder)) / "star.toml").read_text()
    [line] = [one for one in declaration.splitlines(keepends=True) if one.startswith(LOCATION)]
    star = with_declaration(tmp_path / "star", line, new and line.replace(LOCATION, new))
    before = fetch_rows(warehouse.dsn, COLUMNS)
    reason = r"has column dim_staff\.location, which is no longer declared.*Declare it again"
    with pytest.raises(WarehouseError, match=reason):
        migrate(warehouse.dsn, star)
    with pytest.raises(WarehouseError, match=reason), connect(warehouse.dsn) as connection:
        check_schema(connection, star)
    assert fetch_rows(warehouse.dsn, COLUMNS) == before
    execute(warehouse.dsn, "ALTER TABLE dim_staff DROP location")
    assert migrate(warehouse.dsn, star) == (["column dim_staff.place"] if new else [])


def test_a_table_removed_from_the_declaration_is_rejected(
    warehouse: EmptyWarehouse, tmp_path: Path
) -> None:
    name = "dim_region"
    star = with_declaration(
        tmp_path / "star",
        "[dim_staff]",
        f"""[{name}]
comment = "A region."
key = "region_id"

[{name}.columns]
region_id = {{ type = "integer", comment = "Key." }}

[dim_staff]""",
    )
    assert migrate(warehouse.dsn, star) == [f"table {name}"]
    with pytest.raises(WarehouseError, match=f"has table {name}, which is no longer declared"):
        migrate(warehouse.dsn)


def test_a_column_added_by_users_is_kept(warehouse: EmptyWarehouse) -> None:
    execute(warehouse.dsn, "ALTER TABLE dim_staff ADD note text")
    before = fetch_rows(warehouse.dsn, COLUMNS)
    assert migrate(warehouse.dsn) == []
    with connect(warehouse.dsn) as connection:
        check_schema(connection)
    assert fetch_rows(warehouse.dsn, COLUMNS) == before


# Connections.


def reach(dsn: Dsn) -> None:
    with connect(dsn) as connection:
        connection.execute("SELECT 1")


WRONG_DSNS: dict[str, tuple[Callable[[Dsn], Dsn], str]] = {
    "host": (lambda dsn: dsn.replace(host="nowhere.invalid"), "check the host's name"),
    "port": (lambda dsn: dsn.replace(port="1"), "check host and port"),
    "database": (lambda dsn: dsn.replace(dbname="none"), "create the database"),
    "user": (lambda dsn: dsn.replace(user="none"), "create the role"),
}


@pytest.mark.parametrize("what", WRONG_DSNS)
def test_a_wrong_dsn_is_one_line_with_advice(warehouse: EmptyWarehouse, what: str) -> None:
    wrong, advice = WRONG_DSNS[what]
    with pytest.raises(WarehouseError, match=advice) as caught:
        reach(wrong(warehouse.dsn.replace(password="hunter2")))
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 5


def test_a_wrong_password_is_one_line_with_advice(cluster: ClusterFactory) -> None:
    server = cluster()
    execute(server.dsn, "CREATE ROLE guarded LOGIN PASSWORD 'right'")
    (server.data / "pg_hba.conf").write_text(
        "local all postgres trust\nlocal all all scram-sha-256"
    )
    execute(server.dsn, "SELECT pg_reload_conf()")
    guarded = server.dsn.replace(user="guarded")
    reach(guarded.replace(password="right"))
    with pytest.raises(WarehouseError, match="check user and password") as caught:
        reach(guarded.replace(password="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_a_port_without_a_server_is_one_line_with_advice(warehouse: EmptyWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"reached: Connection refused: check host and port"):
        reach(warehouse.dsn.replace(host="127.0.0.1", port="1"))


def test_a_database_without_connect_privilege_names_it(
    warehouse: EmptyWarehouse,
) -> None:
    execute(warehouse.admin, "DROP ROLE IF EXISTS without_grant; CREATE ROLE without_grant LOGIN")
    message = r"reached: permission denied for database .*: GRANT CONNECT on it to this user\."
    with pytest.raises(WarehouseError, match=message):
        reach(warehouse.dsn.replace(user="without_grant"))


def test_a_lock_timeout_is_one_line_with_advice(
    warehouse: EmptyWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**warehouse_connection.SETTINGS, "lock_timeout": "50ms"}
    monkeypatch.setattr(warehouse_connection, "SETTINGS", settings)
    with psycopg.connect(warehouse.dsn.reveal()) as holder:
        holder.execute("LOCK TABLE dim_staff")
        with (
            pytest.raises(WarehouseError, match="another session has locked"),
            connect(warehouse.dsn) as waiting,
        ):
            waiting.execute("SELECT FROM dim_staff")


def test_an_error_of_the_server_has_its_detail(warehouse: EmptyWarehouse) -> None:
    with (
        pytest.raises(WarehouseError, match=r"violates unique constraint .*\(Key .* exists\)"),
        connect(warehouse.dsn) as connection,
    ):
        connection.execute("INSERT INTO totes.migrations (name) SELECT name FROM totes.migrations")


def test_sessions_have_an_application_name_and_use_utc(warehouse: EmptyWarehouse) -> None:
    with connect(warehouse.dsn) as connection:
        shown = connection.execute(
            "SELECT current_setting('application_name'), current_setting('TimeZone')"
        ).fetchone()
    assert shown == ("totes", "UTC")
