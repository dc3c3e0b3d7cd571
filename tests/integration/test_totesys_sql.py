"""The schema that data/totesys.sql creates equals its description, column by column."""

import zipfile
from pathlib import Path

import psycopg
import pytest
from totesys_columns import COLUMNS

from conftest import Totesys
from totes.demo.simulator import prepare
from totes.embedded import schema

RESTRICT = "ON UPDATE CASCADE ON DELETE RESTRICT"
SET_NULL = "ON UPDATE CASCADE ON DELETE SET NULL"

FOREIGN_KEYS = {
    ("counterparty", "legal_address_id", "address", RESTRICT),
    ("payment", "counterparty_id", "counterparty", RESTRICT),
    ("payment", "currency_id", "currency", RESTRICT),
    ("payment", "payment_type_id", "payment_type", RESTRICT),
    ("payment", "transaction_id", "transaction", RESTRICT),
    ("purchase_order", "agreed_delivery_location_id", "address", RESTRICT),
    ("purchase_order", "counterparty_id", "counterparty", RESTRICT),
    ("purchase_order", "currency_id", "currency", RESTRICT),
    ("purchase_order", "staff_id", "staff", RESTRICT),
    ("sales_order", "agreed_delivery_location_id", "address", RESTRICT),
    ("sales_order", "counterparty_id", "counterparty", RESTRICT),
    ("sales_order", "currency_id", "currency", RESTRICT),
    ("sales_order", "design_id", "design", RESTRICT),
    ("sales_order", "staff_id", "staff", RESTRICT),
    ("staff", "department_id", "department", RESTRICT),
    ("transaction", "purchase_order_id", "purchase_order", SET_NULL),
    ("transaction", "sales_order_id", "sales_order", SET_NULL),
}


def fetch(totesys: Totesys, query: str) -> list[tuple[str, ...]]:
    with psycopg.connect(totesys.dsn.reveal()) as connection:
        return connection.execute(query).fetchall()


def test_columns_types_and_their_order_are_as_described(totesys: Totesys) -> None:
    rows = fetch(
        totesys,
        """
        SELECT relname, string_agg(
            concat_ws(' ', attname, format_type(atttypid, atttypmod),
                CASE WHEN attnotnull THEN 'NOT NULL' END,
                'DEFAULT ' || CASE WHEN attnum > 1 THEN pg_get_expr(adbin, adrelid) END),
            '; ' ORDER BY attnum)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
        GROUP BY relname
        """,
    )
    found = {table: columns.split("; ") for table, columns in rows}
    del found["_prisma_migrations"]
    assert found == COLUMNS


def test_every_id_is_the_primary_key_and_fed_by_a_sequence(totesys: Totesys) -> None:
    for table in COLUMNS:
        ((key, default),) = fetch(
            totesys,
            f"""
            SELECT pg_get_constraintdef(oid), pg_get_serial_sequence('"{table}"', '{table}_id')
            FROM pg_constraint WHERE conrelid = '"{table}"'::regclass AND contype = 'p'
            """,
        )
        assert key == f"PRIMARY KEY ({table}_id)"
        assert default == f"public.{table}_{table}_id_seq"


def test_foreign_keys_and_their_rules_are_as_described(totesys: Totesys) -> None:
    rows = fetch(
        totesys,
        """
        SELECT conrelid::regclass::text, a.attname, confrelid::regclass::text,
               substring(pg_get_constraintdef(c.oid) FROM 'ON UPDATE.*')
        FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]
        WHERE contype = 'f'
        """,
    )
    assert set(rows) == FOREIGN_KEYS


def test_one_transaction_for_an_order_and_one_payment_for_a_transaction(totesys: Totesys) -> None:
    rows = fetch(
        totesys,
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'u' AND connamespace = 'public'::regnamespace",
    )
    assert set(rows) == {
        ("payment", "UNIQUE (transaction_id)"),
        ("transaction", "UNIQUE (sales_order_id)"),
        ("transaction", "UNIQUE (purchase_order_id)"),
    }


def test_the_enums_have_the_live_labels_in_order(totesys: Totesys) -> None:
    rows = fetch(
        totesys,
        "SELECT typname, string_agg(enumlabel, ' ' ORDER BY enumsortorder) "
        "FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid GROUP BY typname",
    )
    assert set(rows) == {
        ("PaymentTypeName", "SALES_RECEIPT SALES_REFUND PURCHASE_PAYMENT PURCHASE_REFUND"),
        ("TransactionType", "SALE PURCHASE"),
    }


def test_only_the_application_sets_last_updated(totesys: Totesys) -> None:
    assert fetch(totesys, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == []
    assert fetch(totesys, "SELECT 1 FROM pg_indexes WHERE indexdef LIKE '%last_updated%'") == []


def test_the_applications_own_table_exists_and_has_a_row(totesys: Totesys) -> None:
    assert (
        len(fetch(totesys, "SELECT id FROM _prisma_migrations WHERE finished_at > '2022-01-01'"))
        == 1
    )


def test_an_installed_package_reads_its_own_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "wheel.zip"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("totesys.sql", "SELECT 'shipped'")
    monkeypatch.setattr(schema, "files", lambda _: zipfile.Path(wheel))
    assert schema.totesys_sql() == "SELECT 'shipped'"


def test_preparing_an_existing_totesys_changes_nothing(totesys: Totesys) -> None:
    assert not prepare(totesys.owner)
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert prepare(totesys.owner)
