"""Verify finds every difference between totesys and the warehouse."""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from installation import Installation

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.demo.simulator import HOSTILE, Simulator
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse
from totes.lake.manifest import generation_path
from totes.operations import verify as verify_package
from totes.operations.verify import Difference, TableResult, VerifyResult, verify
from totes.stages.transform import write_generation
from totes.star.contract import (
    AMOUNT,
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    MONEY,
    TIME,
    VARCHAR,
    StarTable,
)
from totes.star.folder import TOTESYS
from totes.star.models import LINEAGE_FILE, load_models

pytestmark = pytest.mark.few(5)

CHANGES: Mapping[str, str] = {
    INTEGER.loaded: "coalesce({0}, 0) + 1000000",
    BIGINT.loaded: "coalesce({0}, 0) + 1000000",
    DATE.loaded: "{0} + 1",
    TIME.loaded: "{0} - interval '1 millisecond'",
    MONEY.loaded: "- {0}",
    AMOUNT.loaded: "{0} - 0.01",
    BOOLEAN.loaded: "NOT {0}",
    VARCHAR.loaded: "overlay(coalesce({0}, '') placing '~' from greatest(length({0}), 1))",
}
"""The smallest change of a value of each type."""

COMPARED = [table.name for table in TOTESYS.tables.values() if table.in_source]


@pytest.fixture(scope="module")
def shared(
    server: EmbeddedServer,
    template: Source,
    database_names: Iterator[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installation:
    """An installation that has captured 40 changes; tests copy its warehouse to alter it.

    In table address, two rows differ only in a NULL and an empty string.
    """
    source = prepare_source(server.dsn, next(database_names), str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, next(database_names))
    installation = Installation(
        source.owner, source.reader, warehouse.loader, tmp_path_factory.mktemp("shared")
    )
    installation.add_orders(30).run()
    with Simulator(installation.owner, seed=7, mix=HOSTILE) as simulator:
        for _ in range(40):
            simulator.step()
    installation.change(
        "UPDATE address SET district = '' WHERE address_id = 1;"
        "UPDATE address SET district = NULL WHERE address_id = 2;"
        "INSERT INTO design (design_name, file_location, file_name, last_updated)"
        " VALUES ('Deleted', '/', 'deleted.json', '2025-01-01')"
    )
    installation.run()
    installation.change("DELETE FROM design WHERE design_name = 'Deleted'")
    installation.run()
    return installation


@pytest.fixture
def altered(shared: Installation, copied: Callable[[Dsn], Dsn]) -> "Altered":
    """The shared installation with its own copy of the warehouse, which a test can alter."""
    return Altered(replace(shared, warehouse=copied(shared.warehouse)))


class Altered:
    """An installation whose warehouse can be altered by a superuser."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def alter_warehouse(self, statement: str, *values: object) -> None:
        """Execute a statement as superuser, without checks of foreign keys."""
        superuser = self.installation.warehouse.replace(
            user="postgres", options="-csession_replication_role=replica"
        )
        with psycopg.connect(superuser.reveal()) as connection:
            connection.execute(statement.encode(), values or None)

    def keys(self, star: StarTable) -> list[str]:
        """Return the natural keys of the current rows, as text."""
        return [
            key
            for (key,) in self.installation.query(
                f"SELECT {star.key_names[0]}::text FROM {star.name} WHERE {is_current(star)}"
                f" ORDER BY {star.key_names[0]}"
            )
        ]


def is_current(star: StarTable) -> str:
    if star.is_fact:
        return "valid_to IS NULL"
    return (
        f"{star.key_names[0]}::text NOT IN"
        f" (SELECT key FROM totes.deleted_dimension_rows WHERE table_name = '{star.name}')"
    )


def find_differences(installation: Installation) -> dict[str, tuple[Difference, ...]]:
    """Return the differences that verify reports, by table."""
    result = verify(installation.pipeline)
    found = {table.name: table.differing for table in result.tables if not table.equal}
    assert result.equal == (not found)
    return found


def table_result(result: VerifyResult, star: str) -> TableResult:
    return next(table for table in result.tables if table.name == star)


def test_a_warehouse_that_was_just_loaded_equals_its_source(shared: Installation) -> None:
    result = verify(shared.pipeline)
    assert result.equal
    assert [table.name for table in result.tables] == COMPARED
    assert TOTESYS.tables.keys() - {*COMPARED} == {"fact_exchange_rate"}
    with psycopg.connect(shared.owner.reveal()) as source:
        for name in ("sales_order", "purchase_order", "payment"):
            (rows,) = source.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() or (0,)
            table = table_result(result, f"fact_{name}")
            assert table.source_rows == table.warehouse_rows == rows > 0


def test_an_empty_source_equals_an_empty_warehouse(installation: Installation) -> None:
    installation.run()
    assert verify(installation.pipeline).equal


def test_changes_are_captured_and_loaded_before_the_comparison(installation: Installation) -> None:
    installation.add_orders(5).run()
    installation.change("UPDATE sales_order SET units_sold = 5 WHERE sales_order_id = 2")
    result = verify(installation.pipeline)
    assert (result.batch, result.equal) == (2, True)


@pytest.mark.few(3)
@pytest.mark.parametrize("name", COMPARED)
def test_a_changed_value_in_any_column_is_reported_with_table_and_key(
    altered: Altered, name: str
) -> None:
    """Each column is changed in a different row."""
    star = TOTESYS.tables[name]
    keys = altered.keys(star)
    expected = set()
    for column, key in zip(star.columns[1:], keys, strict=False):
        changed = CHANGES[column.type.loaded].format(column.name)
        altered.alter_warehouse(
            f"UPDATE {name} SET {column.name} = {changed}"
            f" WHERE {star.key_names[0]}::text = %s AND {is_current(star)}",
            key,
        )
        expected.add(Difference(key, "different", (column.name,)))
    assert len(expected) == len(star.columns) - 1
    assert find_differences(altered.installation).keys() == {name}
    assert set(find_differences(altered.installation)[name]) == expected


@pytest.mark.few(5)
@pytest.mark.parametrize("name", COMPARED)
def test_a_changed_key_is_a_missing_and_a_surplus_row(altered: Altered, name: str) -> None:
    star = TOTESYS.tables[name]
    (key,) = star.key
    first = altered.keys(star)[0]
    new = "date '1950-06-01'" if key.type is DATE else "77777"
    altered.alter_warehouse(
        f"UPDATE {name} SET {key.name} = {new} WHERE {key.name}::text = %s AND {is_current(star)}",
        first,
    )
    assert {(d.key, d.kind) for d in find_differences(altered.installation)[name]} == {
        (first, "missing"),
        (new.removeprefix("date ").strip("'"), "surplus"),
    }


@pytest.mark.few(5)
@pytest.mark.parametrize("name", COMPARED)
def test_a_missing_row_is_reported(altered: Altered, name: str) -> None:
    star = TOTESYS.tables[name]
    last = altered.keys(star)[-1]
    altered.alter_warehouse(f"DELETE FROM {name} WHERE {star.key_names[0]}::text = %s", last)
    assert find_differences(altered.installation) == {name: (Difference(last, "missing"),)}


def test_a_missing_year_of_the_calendar_is_reported(altered: Altered) -> None:
    """Also a year without dates, before a year with dates."""
    altered.alter_warehouse("DELETE FROM dim_date WHERE year = (SELECT min(year) FROM dim_date)")
    table = table_result(verify(altered.installation.pipeline), "dim_date")
    assert len(table.differing) + table.more in {365, 366}


def test_the_calendar_has_the_years_of_every_date_in_the_source(
    installation: Installation,
) -> None:
    installation.add_orders(10)
    of_orders = ("created_at", "last_updated", "agreed_delivery_date", "agreed_payment_date")
    dates = [
        *(("sales_order", column) for column in of_orders),
        *(("purchase_order", column) for column in of_orders),
        *(("payment", column) for column in ("created_at", "last_updated", "payment_date")),
    ]
    for year, (table, column) in zip(range(1910, 2200, 10), dates, strict=False):
        installation.change(
            f"UPDATE {table} SET {column} = '{year}-12-31'"
            f" WHERE {table}_id = (SELECT min({table}_id) FROM {table})"
        )
    installation.run()
    result = verify(installation.pipeline)
    assert result.equal
    Altered(installation).alter_warehouse("DELETE FROM dim_date")  # its years would be expected
    alone = verify(installation.pipeline)
    assert (
        table_result(alone, "dim_date").source_rows == table_result(result, "dim_date").source_rows
    )


def test_null_and_the_empty_string_are_different(altered: Altered) -> None:
    altered.alter_warehouse(
        "UPDATE dim_location SET district = CASE WHEN district = '' THEN NULL ELSE '' END"
        " WHERE location_id IN (1, 2)"
    )
    assert find_differences(altered.installation) == {
        "dim_location": tuple(Difference(key, "different", ("district",)) for key in ("1", "2"))
    }


def test_a_current_version_that_was_ended_is_missing(altered: Altered) -> None:
    key = altered.keys(TOTESYS.tables["fact_payment"])[3]
    altered.alter_warehouse(
        "UPDATE fact_payment SET valid_to = now() WHERE payment_id::text = %s", key
    )
    assert find_differences(altered.installation) == {"fact_payment": (Difference(key, "missing"),)}


def test_an_old_version_without_valid_to_is_surplus(altered: Altered) -> None:
    [(key,)] = altered.installation.query(
        "SELECT max(sales_order_id)::text FROM fact_sales_order WHERE valid_to IS NOT NULL"
    )
    altered.alter_warehouse("DROP INDEX fact_sales_order_current")
    altered.alter_warehouse(
        "UPDATE fact_sales_order SET valid_to = NULL WHERE sales_order_id::text = %s", key
    )
    assert find_differences(altered.installation) == {
        "fact_sales_order": (Difference(key, "surplus"),)
    }


def test_rows_that_exchanged_values_are_reported(installation: Installation) -> None:
    """Both are in the same bucket, of which there are 1024."""
    installation.add_orders(5)
    installation.change(
        "INSERT INTO design (design_id, design_name, file_location, file_name, last_updated)"
        " SELECT 1025, 'Another', file_location, file_name, last_updated FROM design"
        " WHERE design_id = 1"
    )
    installation.run()
    altered = Altered(installation)
    altered.alter_warehouse(
        "UPDATE dim_design AS design SET design_name = other.design_name FROM dim_design AS other"
        " WHERE design.design_id IN (1, 1025) AND other.design_id = 1026 - design.design_id"
    )
    assert find_differences(installation) == {
        "dim_design": tuple(Difference(key, "different", ("design_name",)) for key in ("1", "1025"))
    }


def test_servers_whose_hash_functions_differ_are_compared_by_text(altered: Altered) -> None:
    altered.alter_warehouse(
        "SET allow_system_table_mods = on;"
        "ALTER FUNCTION pg_catalog.hash_record_extended RENAME TO original_hash;"
        "CREATE FUNCTION pg_catalog.hash_record_extended(record, bigint) RETURNS bigint"
        " LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN ~ original_hash($1, $2); END'"
    )
    assert find_differences(altered.installation) == {}
    altered.alter_warehouse("UPDATE fact_sales_order SET unit_price = - unit_price")
    table = table_result(verify(altered.installation.pipeline), "fact_sales_order")
    assert {d.columns for d in table.differing} == {("unit_price",)}
    assert len(table.differing) + table.more == table.source_rows


@pytest.mark.parametrize("copies", [1, 2])
def test_a_duplicate_is_surplus(altered: Altered, copies: int) -> None:
    """Also if the digests of two copies cancel each other out."""
    key = altered.keys(TOTESYS.tables["fact_purchase_order"])[2]
    altered.alter_warehouse("DROP INDEX fact_purchase_order_current, fact_purchase_order_version")
    altered.alter_warehouse(
        "INSERT INTO fact_purchase_order SELECT (fact).* FROM ("
        " SELECT jsonb_populate_record(f, jsonb_build_object('purchase_record_id', 90000 + copy))"
        "  AS fact FROM fact_purchase_order f, generate_series(1, %s) AS copy"
        " WHERE purchase_order_id::text = %s AND valid_to IS NULL) AS copies",
        copies,
        key,
    )
    assert find_differences(altered.installation) == {
        "fact_purchase_order": (Difference(key, "surplus"),)
    }


def test_many_differences_are_counted_and_some_are_listed(altered: Altered) -> None:
    altered.alter_warehouse("UPDATE fact_sales_order SET units_sold = units_sold + 1")
    table = table_result(verify(altered.installation.pipeline), "fact_sales_order")
    assert not table.equal
    assert {d.columns for d in table.differing} == {("units_sold",)}
    assert len(table.differing) + table.more == table.source_rows
    assert table.more


def test_the_result_is_json(altered: Altered) -> None:
    altered.alter_warehouse("UPDATE dim_currency SET currency_name = 'Quid' WHERE currency_id = 1")
    result = json.loads(json.dumps(verify(altered.installation.pipeline).to_json()))
    assert (result["equal"], len(result["tables"])) == (False, len(COMPARED))
    [table] = [table for table in result["tables"] if not table["equal"]]
    assert table["differing"] == [{"key": "1", "kind": "different", "columns": ["currency_name"]}]


def test_deleted_dimension_rows_are_expected(altered: Altered) -> None:
    [(key,)] = altered.installation.query("SELECT max(design_id)::text FROM dim_design")
    assert find_differences(altered.installation) == {}
    altered.alter_warehouse(
        "DELETE FROM totes.deleted_dimension_rows WHERE table_name = 'dim_design'"
    )
    assert Difference(key, "surplus") in find_differences(altered.installation)["dim_design"]


def test_a_recorded_deletion_that_did_not_happen_is_reported(altered: Altered) -> None:
    altered.alter_warehouse(
        "INSERT INTO totes.deleted_dimension_rows VALUES ('dim_staff', '3', now(), 1)"
    )
    assert find_differences(altered.installation) == {"dim_staff": (Difference("3", "missing"),)}


@pytest.mark.few(1)
@pytest.mark.parametrize("text", ["2024-02-30", "31/12/2024", "2024-1-5", "soon", "2201-01-01", ""])
def test_a_quarantined_row_is_listed_separately(installation: Installation, text: str) -> None:
    """The calendar then does not need the years of its other dates."""
    installation.add_orders(10)
    installation.change(
        f"UPDATE sales_order SET agreed_delivery_date = '{text}',"
        " agreed_payment_date = '2150-12-31' WHERE sales_order_id = 4"
    )
    installation.run()
    result = verify(installation.pipeline)
    assert result.equal
    assert table_result(result, "fact_sales_order").quarantined == ("4",)
    assert table_result(result, "fact_sales_order").source_rows == 9
    installation.change("UPDATE sales_order SET agreed_delivery_date = '2200-12-31'")
    result = verify(installation.pipeline)
    assert result.equal
    assert not table_result(result, "fact_sales_order").quarantined
    assert table_result(result, "dim_date").source_rows > 365 * 4


def test_a_rejected_change_keeps_the_old_version_and_is_listed_separately(
    installation: Installation,
) -> None:
    installation.add_orders(10).run()
    installation.change("UPDATE payment SET payment_date = 'tomorrow' WHERE payment_id = 7")
    result = verify(installation.pipeline)
    assert result.equal
    assert table_result(result, "fact_payment").quarantined == ("7",)
    installation.change("DELETE FROM payment WHERE payment_id = 7; UPDATE payment SET paid = true")
    result = verify(installation.pipeline)
    assert (result.equal, table_result(result, "fact_payment").quarantined) == (True, ())


def test_a_fact_that_waits_for_a_rejected_dimension_row_is_listed_separately(
    installation: Installation,
) -> None:
    installation.add_orders(10)
    installation.change("UPDATE currency SET currency_code = '???' WHERE currency_id = 1")
    installation.run()
    result = verify(installation.pipeline)
    assert result.equal
    assert table_result(result, "dim_currency").quarantined == ("1",)
    assert table_result(result, "fact_payment").quarantined


def test_years_of_deleted_rows_stay_in_the_calendar(installation: Installation) -> None:
    installation.add_orders(10)
    installation.change("UPDATE payment SET payment_date = '1999-12-31' WHERE payment_id = 1")
    installation.run()
    installation.change("UPDATE payment SET payment_date = '2023-01-02' WHERE payment_id = 1")
    assert verify(installation.pipeline).equal


def test_equal_values_of_different_types_are_equal(installation: Installation) -> None:
    installation.add_orders(10)
    installation.change(
        """
        ALTER TABLE sales_order ALTER unit_price TYPE numeric, ALTER sales_order_id TYPE bigint,
            ALTER agreed_payment_date TYPE varchar(20);
        ALTER TABLE payment ALTER payment_amount TYPE numeric, ALTER payment_date TYPE date
            USING payment_date::date;
        ALTER TABLE payment_type ALTER payment_type_name TYPE varchar;
        ALTER TABLE transaction ALTER transaction_type TYPE text;
        UPDATE sales_order SET unit_price = 2.5000 WHERE sales_order_id = 1;
        UPDATE payment SET payment_amount = 100 WHERE payment_id = 1
        """
    )
    installation.run()
    result = verify(installation.pipeline)
    assert result.equal
    assert not any(table.quarantined for table in result.tables)


@pytest.mark.few(1)
@pytest.mark.parametrize("source_server", ["server", "older"])
def test_a_source_in_a_different_encoding_is_compared_by_characters(
    request: pytest.FixtureRequest,
    source_server: str,
    database_names: Iterator[str],
    warehouse: EmptyWarehouse,
    tmp_path: Path,
) -> None:
    """Also on an older server."""
    server: EmbeddedServer = request.getfixturevalue(source_server)
    name = next(database_names)
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc"
            " LOCALE 'C'".encode()
        )
    source = prepare_source(server.dsn, name)
    application = source.superuser.replace(client_encoding="UTF8")
    installation = Installation(application, source.reader, warehouse.dsn, tmp_path).add_orders(5)
    installation.change("UPDATE address SET city = 'Zürich'")
    installation.run()
    assert installation.query("SELECT DISTINCT city FROM dim_location") == [("Zürich",)]
    assert verify(installation.pipeline).equal
    installation.change("UPDATE address SET city = 'Zurich' WHERE address_id = 2")
    superuser = installation.warehouse.replace(user="postgres")
    with psycopg.connect(superuser.reveal()) as connection:
        connection.execute("UPDATE dim_location SET city = 'Zürich.' WHERE location_id = 1")
    assert find_differences(installation) == {
        "dim_location": (Difference("1", "different", ("city",)),)
    }


def test_a_wrong_model_is_reported(installation: Installation, tmp_path: Path) -> None:
    installation.add_orders(5)
    installation.change("UPDATE staff SET first_name = 'Ann', last_name = 'Bee'")
    installation.run()
    models = tmp_path / "models"
    models.mkdir()
    for path in (files("totes.star") / "totesys" / "models").iterdir():
        if path.name != LINEAGE_FILE:
            (models / path.name).write_text(path.read_text())
    staff = models / "dim_staff.sql"
    head, select, tail = staff.read_text().rpartition("select")
    staff.write_text(head + select + tail.replace("first_name,", "last_name as first_name,", 1))
    pipeline = installation.pipeline
    for _ in write_generation(
        pipeline.ingestion, pipeline.processed, 2, load_models(models, TOTESYS.tables)
    ):
        pass
    pipeline.processed.create(generation_path(2), b"{}")
    found = find_differences(installation)
    assert found.keys() == {"dim_staff"}
    assert {d.columns for d in found["dim_staff"]} == {("first_name",)}


def test_verify_queries_are_not_derived_from_the_models() -> None:
    for path in Path(verify_package.__file__).parent.glob("*.py"):
        source = path.read_text()
        imported = {
            node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
        }
        assert not {"totes.star.models", "totes.star.lineage"} & imported
        assert "models" not in re.sub("independently of the models", "", source)
