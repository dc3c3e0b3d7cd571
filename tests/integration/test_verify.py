"""Verify finds what differs, names it, and is not deceived by what may differ."""

import ast
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from installation import Installation, at
from scratch_source import once

from conftest import EmptyWarehouse
from totes.config.settings import Dsn
from totes.demo.simulator import HOSTILE, Simulator, bulk
from totes.embedded.servers import EmbeddedServer, Source, prepare_source, prepare_warehouse
from totes.errors import WarehouseError
from totes.lake.manifest import generation_path
from totes.operations import verify as verify_package
from totes.operations.verify import ATTEMPTS, Difference, TableVerdict, Verdict, verify
from totes.progress import Quiet
from totes.stages.transform import write_generation
from totes.star.contract import AMOUNT, BOOLEAN, DATE, INTEGER, MONEY, TIME, VARCHAR, StarTable
from totes.star.definition import TOTESYS
from totes.star.models import LINEAGE_FILE, load_models

CHANGES: Mapping[str, str] = {
    INTEGER.name: "{0} + 1000000",
    DATE.name: "{0} + 1",
    TIME.name: "{0} - interval '1 millisecond'",
    MONEY.name: "{0} + 0.01",
    AMOUNT.name: "{0} - 0.01",
    BOOLEAN.name: "NOT {0}",
    VARCHAR.name: "overlay(coalesce({0}, '') placing '~' from greatest(length({0}), 1))",
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
    """A platform that has run on a quiet totesys with some past; clone its warehouse to change it.

    Its last change left a NULL and an empty string side by side.
    """
    source = prepare_source(server.dsn, next(database_names), str(template.owner.parts["dbname"]))
    warehouse = prepare_warehouse(server.dsn, next(database_names))
    installation = Installation(
        source.owner, source.reader, warehouse.loader, tmp_path_factory.mktemp("shared")
    )
    installation.filled(30).run()
    with Simulator(installation.owner, seed=7, mix=HOSTILE) as business:
        for _ in range(40):
            business.step()
    installation.change(
        "UPDATE address SET district = '' WHERE address_id = 1;"
        "UPDATE address SET district = NULL WHERE address_id = 2;"
        "INSERT INTO design (design_name, file_location, file_name, last_updated)"
        " VALUES ('Gone', '/', 'gone.json', '2025-01-01')"
    )
    installation.run()
    installation.change("DELETE FROM design WHERE design_name = 'Gone'")
    installation.run()
    return installation


@pytest.fixture
def altered(shared: Installation, copied: Callable[[Dsn], Dsn]) -> "Altered":
    """The shared platform with a warehouse of its own, whose rows a superuser may spoil."""
    return Altered(replace(shared, warehouse=copied(shared.warehouse)))


class Altered:
    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def spoil(self, statement: str, *values: object) -> None:
        """As a superuser, whom no key of the warehouse stops."""
        superuser = self.installation.warehouse.replace(
            user="postgres", options="-csession_replication_role=replica"
        )
        with psycopg.connect(superuser.reveal()) as connection:
            connection.execute(statement.encode(), values or None)

    def keys(self, star: StarTable) -> list[str]:
        """Natural keys of the rows that are true now, as text."""
        return [
            key
            for (key,) in self.installation.ask(
                f"SELECT {star.key_names[0]}::text FROM {star.name} WHERE {true_now(star)}"
                f" ORDER BY {star.key_names[0]}"
            )
        ]


def true_now(star: StarTable) -> str:
    if star.is_fact:
        return "valid_to IS NULL"
    return (
        f"{star.key_names[0]}::text NOT IN"
        f" (SELECT key FROM totes.deleted_dimension_rows WHERE table_name = '{star.name}')"
    )


def differing(installation: Installation) -> dict[str, tuple[Difference, ...]]:
    """What verify finds, by table."""
    verdict = verify(installation.pipeline)
    found = {table.name: table.differing for table in verdict.tables if not table.equal}
    assert verdict.equal == (not found)
    return found


def of(verdict: Verdict, star: str) -> TableVerdict:
    return next(table for table in verdict.tables if table.name == star)


def test_a_warehouse_that_was_just_loaded_equals_its_source(shared: Installation) -> None:
    verdict = verify(shared.pipeline)
    assert verdict.equal
    assert [table.name for table in verdict.tables] == COMPARED
    assert TOTESYS.tables.keys() - {*COMPARED} == {"fact_exchange_rate"}
    with psycopg.connect(shared.owner.reveal()) as source:
        for name in ("sales_order", "purchase_order", "payment"):
            (rows,) = source.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() or (0,)
            table = of(verdict, f"fact_{name}")
            assert table.source_rows == table.warehouse_rows == rows > 0


def test_an_empty_source_equals_an_empty_warehouse(installation: Installation) -> None:
    installation.run()
    assert verify(installation.pipeline).equal


def test_what_was_not_captured_yet_is_captured_and_loaded_first(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change("UPDATE sales_order SET units_sold = 5 WHERE sales_order_id = 2")
    verdict = verify(installation.pipeline)
    assert (verdict.batch, verdict.equal) == (2, True)


@pytest.mark.parametrize("name", COMPARED)
def test_a_changed_value_in_any_column_is_found_with_its_table_and_key(
    altered: Altered, name: str
) -> None:
    """A column in each of so many rows, all at once."""
    star = TOTESYS.tables[name]
    keys = altered.keys(star)
    expected = set()
    for column, key in zip(star.columns[1:], keys, strict=False):
        changed = CHANGES[column.type.name].format(column.name)
        altered.spoil(
            f"UPDATE {name} SET {column.name} = {changed}"
            f" WHERE {star.key_names[0]}::text = %s AND {true_now(star)}",
            key,
        )
        expected.add(Difference(key, "different", (column.name,)))
    assert len(expected) == len(star.columns) - 1
    assert differing(altered.installation).keys() == {name}
    assert set(differing(altered.installation)[name]) == expected


@pytest.mark.parametrize("name", COMPARED)
def test_a_changed_key_is_a_missing_row_and_a_surplus_one(altered: Altered, name: str) -> None:
    star = TOTESYS.tables[name]
    (key,) = star.key
    first = altered.keys(star)[0]
    new = "date '1950-06-01'" if key.type is DATE else "77777"
    altered.spoil(
        f"UPDATE {name} SET {key.name} = {new} WHERE {key.name}::text = %s AND {true_now(star)}",
        first,
    )
    assert {(d.key, d.kind) for d in differing(altered.installation)[name]} == {
        (first, "missing"),
        (new.removeprefix("date ").strip("'"), "surplus"),
    }


@pytest.mark.parametrize("name", COMPARED)
def test_a_missing_row_is_found(altered: Altered, name: str) -> None:
    star = TOTESYS.tables[name]
    last = altered.keys(star)[-1]
    altered.spoil(f"DELETE FROM {name} WHERE {star.key_names[0]}::text = %s", last)
    assert differing(altered.installation) == {name: (Difference(last, "missing"),)}


def test_a_missing_year_of_the_calendar_is_found(altered: Altered) -> None:
    """Also one that no fact is dated in, beside one that is."""
    altered.spoil("DELETE FROM dim_date WHERE year = (SELECT min(year) FROM dim_date)")
    table = of(verify(altered.installation.pipeline), "dim_date")
    assert len(table.differing) + table.more in {365, 366}


def test_null_and_the_empty_string_are_two_values(altered: Altered) -> None:
    altered.spoil(
        "UPDATE dim_location SET district = CASE WHEN district = '' THEN NULL ELSE '' END"
        " WHERE location_id IN (1, 2)"
    )
    assert differing(altered.installation) == {
        "dim_location": tuple(Difference(key, "different", ("district",)) for key in ("1", "2"))
    }


def test_a_current_version_that_was_closed_is_missing(altered: Altered) -> None:
    key = altered.keys(TOTESYS.tables["fact_payment"])[3]
    altered.spoil("UPDATE fact_payment SET valid_to = now() WHERE payment_id::text = %s", key)
    assert differing(altered.installation) == {"fact_payment": (Difference(key, "missing"),)}


def test_a_version_that_was_opened_again_is_surplus(altered: Altered) -> None:
    [(key,)] = altered.installation.ask(
        "SELECT max(sales_order_id)::text FROM fact_sales_order WHERE valid_to IS NOT NULL"
    )
    altered.spoil("DROP INDEX fact_sales_order_current")
    altered.spoil(
        "UPDATE fact_sales_order SET valid_to = NULL WHERE sales_order_id::text = %s", key
    )
    assert differing(altered.installation) == {"fact_sales_order": (Difference(key, "surplus"),)}


@pytest.mark.parametrize("copies", [1, 2])
def test_a_duplicate_is_surplus(altered: Altered, copies: int) -> None:
    """Also where two copies cancel each other out in a digest."""
    key = altered.keys(TOTESYS.tables["fact_purchase_order"])[2]
    altered.spoil("DROP INDEX fact_purchase_order_current, fact_purchase_order_version")
    altered.spoil(
        "INSERT INTO fact_purchase_order SELECT (fact).* FROM ("
        " SELECT jsonb_populate_record(f, jsonb_build_object('purchase_record_id', 90000 + copy))"
        "  AS fact FROM fact_purchase_order f, generate_series(1, %s) AS copy"
        " WHERE purchase_order_id::text = %s AND valid_to IS NULL) AS copies",
        copies,
        key,
    )
    assert differing(altered.installation) == {"fact_purchase_order": (Difference(key, "surplus"),)}


def test_where_very_much_differs_it_says_how_much_and_shows_some(altered: Altered) -> None:
    altered.spoil("UPDATE fact_sales_order SET units_sold = units_sold + 1")
    table = of(verify(altered.installation.pipeline), "fact_sales_order")
    assert not table.equal
    assert {d.columns for d in table.differing} == {("units_sold",)}
    assert len(table.differing) + table.more == table.source_rows
    assert table.more


def test_the_verdict_is_plain_json(altered: Altered) -> None:
    altered.spoil("UPDATE dim_currency SET currency_name = 'Quid' WHERE currency_id = 1")
    verdict = json.loads(json.dumps(verify(altered.installation.pipeline).to_json()))
    assert (verdict["equal"], len(verdict["tables"])) == (False, 11)
    [table] = [table for table in verdict["tables"] if not table["equal"]]
    assert table["differing"] == [{"key": "1", "kind": "different", "columns": ["currency_name"]}]


# What may differ


def test_deleted_dimension_rows_are_expected(altered: Altered) -> None:
    [(key,)] = altered.installation.ask("SELECT max(design_id)::text FROM dim_design")
    assert differing(altered.installation) == {}
    altered.spoil("DELETE FROM totes.deleted_dimension_rows WHERE table_name = 'dim_design'")
    assert Difference(key, "surplus") in differing(altered.installation)["dim_design"]


def test_a_deletion_that_never_happened_is_found(altered: Altered) -> None:
    altered.spoil("INSERT INTO totes.deleted_dimension_rows VALUES ('dim_staff', '3', now(), 1)")
    assert differing(altered.installation) == {"dim_staff": (Difference("3", "missing"),)}


@pytest.mark.parametrize(
    "typed", ["2024-02-30", "31/12/2024", "2024-1-5", "soon", "2201-01-01", ""]
)
def test_a_quarantined_row_is_named_apart(installation: Installation, typed: str) -> None:
    """The years of its other dates are then not in the calendar."""
    installation.filled(10)
    installation.change(
        f"UPDATE sales_order SET agreed_delivery_date = '{typed}',"
        " agreed_payment_date = '2150-12-31' WHERE sales_order_id = 4"
    )
    installation.run()
    verdict = verify(installation.pipeline)
    assert verdict.equal
    assert of(verdict, "fact_sales_order").quarantined == ("4",)
    assert of(verdict, "fact_sales_order").source_rows == 9
    installation.change("UPDATE sales_order SET agreed_delivery_date = '2200-12-31'")
    verdict = verify(installation.pipeline)
    assert verdict.equal
    assert not of(verdict, "fact_sales_order").quarantined
    assert of(verdict, "dim_date").source_rows > 365 * 4


def test_a_refused_change_leaves_the_old_version_and_is_named_apart(
    installation: Installation,
) -> None:
    installation.filled(10).run()
    installation.change("UPDATE payment SET payment_date = 'tomorrow' WHERE payment_id = 7")
    verdict = verify(installation.pipeline)
    assert verdict.equal
    assert of(verdict, "fact_payment").quarantined == ("7",)
    installation.change("DELETE FROM payment WHERE payment_id = 7; UPDATE payment SET paid = true")
    verdict = verify(installation.pipeline)
    assert (verdict.equal, of(verdict, "fact_payment").quarantined) == (True, ())


def test_what_waits_for_a_refused_dimension_row_is_named_apart(installation: Installation) -> None:
    installation.filled(10)
    installation.change("UPDATE currency SET currency_code = '???' WHERE currency_id = 1")
    installation.run()
    verdict = verify(installation.pipeline)
    assert verdict.equal
    assert of(verdict, "dim_currency").quarantined == ("1",)
    assert of(verdict, "fact_payment").quarantined


def test_dates_of_rows_long_gone_keep_their_years(installation: Installation) -> None:
    installation.filled(10)
    installation.change("UPDATE payment SET payment_date = '1999-12-31' WHERE payment_id = 1")
    installation.run()
    installation.change("UPDATE payment SET payment_date = '2023-01-02' WHERE payment_id = 1")
    assert verify(installation.pipeline).equal


def test_another_deployment_spells_its_types_differently(installation: Installation) -> None:
    installation.filled(10)
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
    verdict = verify(installation.pipeline)
    assert verdict.equal
    assert not any(table.quarantined for table in verdict.tables)


def test_a_source_in_another_encoding_is_compared_by_its_characters(
    server: EmbeddedServer,
    database_names: Iterator[str],
    warehouse: EmptyWarehouse,
    tmp_path: Path,
) -> None:
    name = next(database_names)
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc"
            " LOCALE 'C'".encode()
        )
    source = prepare_source(server.dsn, name)
    application = source.superuser.replace(client_encoding="UTF8")
    installation = Installation(application, source.reader, warehouse.dsn, tmp_path).filled(5)
    installation.change("UPDATE address SET city = 'Zürich'")
    installation.run()
    assert installation.ask("SELECT DISTINCT city FROM dim_location") == [("Zürich",)]
    assert verify(installation.pipeline).equal


# Others at work meanwhile


def test_a_busy_source_is_compared_within_one_snapshot(installation: Installation) -> None:
    bulk(installation.owner, orders=200)
    enough = threading.Event()

    def work() -> None:
        with Simulator(installation.owner, seed=3, mix=HOSTILE) as business:
            while not enough.is_set():
                business.step()

    installation.run()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        verdicts = [verify(installation.pipeline) for _ in range(4)]
    finally:
        enough.set()
        worker.join()
    assert [differing_tables(verdict) for verdict in verdicts] == [[]] * 4
    assert len({verdict.batch for verdict in verdicts}) == 4, "it never stood still"


def differing_tables(verdict: Verdict) -> list[TableVerdict]:
    return [table for table in verdict.tables if not table.equal]


def test_a_change_committed_while_it_compares_does_not_show(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    with at(
        "load.before-commit",
        once(
            lambda: installation.change("UPDATE staff SET first_name = 'Bob'; DELETE FROM payment")
        ),
    ):
        assert verify(installation.pipeline).equal


def test_it_starts_again_where_another_run_brought_a_newer_batch(
    installation: Installation,
) -> None:
    installation.filled(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")

    def rival() -> None:
        installation.change("UPDATE staff SET first_name = 'Bob' WHERE staff_id = 1")
        installation.run()

    with at("transform.before-manifest", once(rival)):
        verdict = verify(installation.pipeline)
    assert (verdict.batch, verdict.equal) == (3, True)


def test_it_starts_again_where_another_ingest_was_first(installation: Installation) -> None:
    installation.filled(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")

    def rival() -> None:
        installation.run()

    with at("ingest.captured", once(rival)):
        verdict = verify(installation.pipeline)
    assert (verdict.batch, verdict.equal) == (2, True)


def test_it_gives_up_where_another_run_is_always_quicker(installation: Installation) -> None:
    installation.filled(5).run()
    tried: list[str] = []

    def rival() -> None:
        """Itself at this failpoint too, which it then passes."""
        if len(tried) % 2 == 0:
            tried.append("verify")
            installation.change(
                f"UPDATE staff SET first_name = 'Ann {len(tried)}' WHERE staff_id = 1"
            )
            installation.run()
        else:
            tried.append("rival")

    with (
        at("source.snapshot-taken", rival),
        pytest.raises(WarehouseError, match="stop it, or try again"),
    ):
        verify(installation.pipeline)
    assert tried == ["verify", "rival"] * ATTEMPTS


class Interrupted(Quiet):
    """Progress that does something before it goes on to `what`."""

    def __init__(self, what: str, action: Callable[[], None]) -> None:
        self.what, self.action = what, action

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
        super().start(what, total)
        if what == self.what:
            self.action()


def test_a_batch_loaded_while_it_compares_does_not_show(installation: Installation) -> None:
    installation.filled(5).run()

    def rival() -> None:
        installation.change("UPDATE payment SET paid = NOT paid")
        installation.run()

    verdict = verify(installation.pipeline, Interrupted("verify fact_payment", rival))
    assert (verdict.batch, verdict.equal) == (1, True)
    assert installation.ask("SELECT max(batch) FROM totes.batches") == [(2,)]


# The proof stands on its own feet


def test_a_wrong_model_is_found(installation: Installation, tmp_path: Path) -> None:
    installation.filled(5)
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
    found = differing(installation)
    assert found.keys() == {"dim_staff"}
    assert {d.columns for d in found["dim_staff"]} == {("first_name",)}


def test_its_queries_are_not_made_from_the_models() -> None:
    source = Path(verify_package.__file__).read_text()
    imported = {
        node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
    }
    assert not {"totes.star.models", "totes.star.lineage"} & imported
    assert "models" not in re.sub("independently of the models|as its models are", "", source)
