"""The transform stage: which rows, days and files each batch has."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from depth import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_writer import ROWS, row
from transform_lake import ALL, Lake, Row, changes, keys

from totes.errors import ModelError
from totes.lake.manifest import (
    ProcessedManifest,
    generation_path,
)
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.models import load_models

TIMESTAMPS = {
    "created_date": date(2022, 11, 3),
    "created_time": "14:20:49.962",
    "last_updated_date": date(2022, 11, 3),
    "last_updated_time": "14:20:49.962",
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


EXPECTED: dict[str, Row] = {
    "dim_staff": {
        "staff_id": 1,
        "first_name": "Jeremie",
        "last_name": "O'Keefe",
        "department_name": "Sales",
        "location": "Manchester",
        "email_address": "jeremie.o'keefe@terrifictotes.com",
    },
    "dim_location": {
        "location_id": 1,
        "address_line_1": "6826 Herzog Via",
        "address_line_2": None,
        "district": "Avon",
        "city": "New Patienceburgh",
        "postal_code": "28441",
        "country": "Turkey",
        "phone": "1803 637401",
    },
    "dim_currency": {
        "currency_id": 1,
        "currency_code": "GBP",
        "currency_name": "Pound Sterling",
    },
    "dim_design": {
        "design_id": 1,
        "design_name": "Wooden",
        "file_location": "/usr",
        "file_name": "wooden-20220717-npgz.json",
    },
    "dim_counterparty": {
        "counterparty_id": 1,
        "counterparty_legal_name": "Fahey and Sons",
        "counterparty_legal_address_line_1": "6826 Herzog Via",
        "counterparty_legal_address_line_2": None,
        "counterparty_legal_district": "Avon",
        "counterparty_legal_city": "New Patienceburgh",
        "counterparty_legal_postal_code": "28441",
        "counterparty_legal_country": "Turkey",
        "counterparty_legal_phone_number": "1803 637401",
    },
    "dim_payment_type": {"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"},
    "dim_transaction": {
        "transaction_id": 1,
        "transaction_type": "SALE",
        "sales_order_id": 1,
        "purchase_order_id": None,
    },
    "fact_sales_order": {
        "sales_order_id": 1,
        **TIMESTAMPS,
        "sales_staff_id": 1,
        "counterparty_id": 1,
        "units_sold": 84754,
        "unit_price": Decimal("2.43"),
        "currency_id": 1,
        "design_id": 1,
        "agreed_payment_date": date(2022, 11, 3),
        "agreed_delivery_date": date(2022, 11, 10),
        "agreed_delivery_location_id": 1,
    },
    "fact_purchase_order": {
        "purchase_order_id": 1,
        **TIMESTAMPS,
        "staff_id": 1,
        "counterparty_id": 1,
        "item_code": "ZDOI5EA",
        "item_quantity": 371,
        "item_unit_price": Decimal("361.39"),
        "currency_id": 1,
        "agreed_delivery_date": date(2022, 11, 9),
        "agreed_payment_date": date(2022, 11, 7),
        "agreed_delivery_location_id": 1,
    },
    "fact_payment": {
        "payment_id": 1,
        **TIMESTAMPS,
        "transaction_id": 1,
        "counterparty_id": 1,
        "payment_amount": Decimal("552548.62"),
        "currency_id": 1,
        "payment_type_id": 1,
        "paid": False,
        "payment_date": date(2022, 11, 7),
    },
}


def changed_tables(made: ProcessedManifest) -> set[str]:
    """Return the star tables with changes in a batch."""
    return {file.table for file in made.files}


def tables_reading(*sources: str) -> set[str]:
    """Return the star tables whose models read one of these source tables; more may be added."""
    models = TOTESYS.models.all
    return {model.name for model in models if {*sources} & {*model.lineage.sources}}


def test_every_star_table_gets_its_rows(lake: Lake) -> None:
    made = lake.add(ALL)
    since = {"valid_from": lake.writer.batches[0].captured_at, "_op": "upsert"}
    for star, expected in EXPECTED.items():
        [found] = lake.rows(made, star)
        assert found == found | expected | since, "a column may have been added"
        assert [*found] == [
            *(column.name for column in TOTESYS.tables[star].columns),
            *("valid_from", "_op"),
        ]


def test_parquet_has_the_types_of_the_contract(lake: Lake) -> None:
    made = lake.add(ALL)
    for file in made.files:
        path = str(Path(lake.processed.url) / file.path)
        with duckdb.connect() as engine:
            described = engine.execute(
                "describe from read_parquet(?, hive_partitioning = false)", [path]
            ).fetchall()
        types = {name: type_ for name, type_, *_ in described}
        contract = {column.name: column.type.name for column in TOTESYS.tables[file.table].columns}
        assert types == contract | {"valid_from": "TIMESTAMP WITH TIME ZONE", "_op": "VARCHAR"}


def test_a_reader_of_a_tables_folder_sees_the_columns_of_the_table(lake: Lake) -> None:
    """A column with the name of a partition folder would have the folder's value."""
    lake.add(ALL)
    folder = Path(lake.processed.url) / "generation=1" / "dim_date"
    with duckdb.connect() as engine:
        rows = engine.execute(
            "select count(*), count(*) filter (extract(year from date_id) = year"
            " and extract(month from date_id) = month and extract(day from date_id) = day)"
            " from read_parquet(?, hive_partitioning = true)",
            [f"{folder}/**/*.parquet"],
        ).fetchone()
    assert rows is not None
    assert rows[0] == rows[1] > 0


def test_paths_of_files_have_generation_and_day(lake: Lake) -> None:
    made = lake.add({"design": [row("design"), row("design", design_id=2, file_name=None)]})
    day = "totes_date=2026-11-22/000000000001-"
    assert made.files[0].path.startswith(f"generation=1/dim_design/{day}")
    assert made.rejected[0].path.startswith(f"generation=1/quarantine/dim_design/{day}")
    made = lake.add({"staff": [row("staff")]})
    assert made.state["staff"][0].path.startswith("generation=1/state/staff/totes_date=2026-11-22/")


def test_days_are_those_of_the_years_in_use_and_one_before_and_after(lake: Lake) -> None:
    order = row("sales_order", agreed_payment_date="2026-02-28", agreed_delivery_date="2199-01-01")
    late = row("payment", payment_date="2200-12-31")
    early = row("purchase_order", agreed_delivery_date="1900-01-01")
    made = lake.add({"sales_order": [order], "payment": [late], "purchase_order": [early]})
    days = lake.rows(made, "dim_date")
    years = {2021, 2022, 2023} | {2025, 2026, 2027} | {2198, 2199, 2200} | {1900, 1901}
    assert {day["year"] for day in days} == years
    assert [day["date_id"] for day in days] == [
        found
        for found in (date(1900, 1, 1) + timedelta(days=n) for n in range(301 * 366))
        if found.year in years
    ]
    for day in days:
        found = day["date_id"]
        assert (day["year"], day["month"], day["day"]) == (found.year, found.month, found.day)
        assert day["day_of_week"] == found.isoweekday()
        assert (day["day_name"], day["month_name"]) == (f"{found:%A}", f"{found:%B}")
        assert day["quarter"] == (found.month + 2) // 3


def test_a_batch_has_only_days_that_no_earlier_batch_has(lake: Lake) -> None:
    lake.add({"sales_order": [row("sales_order")]})
    same_days = lake.add({"sales_order": [row("sales_order", sales_order_id=2)]})
    assert changed_tables(same_days) == tables_reading("sales_order") >= {"fact_sales_order"}
    assert len(lake.rows(same_days, "fact_sales_order")) == 1
    further = lake.add({"payment": [row("payment", payment_date="2025-01-01")]})
    assert {day["year"] for day in lake.rows(further, "dim_date")} == {2024, 2025, 2026}
    again = lake.add({"payment": [row("payment", payment_id=2, payment_date="2026-01-01")]})
    assert {day["year"] for day in lake.rows(again, "dim_date")} == {2027}
    assert len(lake.rows(again, "dim_date")) == 365
    assert [file.path for file in again.state["dim_date"]] == [
        file.path
        for made in (lake.read_manifest(1), further, again)
        for file in made.files
        if file.table == "dim_date"
    ]


def test_a_batch_without_changes_has_no_files(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add()
    assert (made.batch, made.files, made.rejected) == (2, (), ())


def test_every_batch_is_transformed_once_and_in_order(lake: Lake) -> None:
    for _ in range(3):
        lake.writer.add(ALL)
    made = lake.transform()
    assert [one.batch for one in made] == [1, 2, 3]
    assert [one.captured_at for one in made] == [one.captured_at for one in lake.writer.batches]
    assert made[1].previous is not None
    assert lake.transform() == []


def test_only_changed_tables_have_files(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add({"design": [row("design", file_location="/tmp")]})  # noqa: S108  a value
    assert changed_tables(made) == tables_reading("design") >= {"dim_design"}


def test_a_change_of_a_department_changes_its_staff_only(lake: Lake) -> None:
    people = [row("staff", staff_id=n, department_id=1 + n % 2) for n in range(1, 5)]
    departments = [row("department"), row("department", department_id=2)]
    lake.add({"staff": people, "department": departments})
    made = lake.add({"department": [row("department", department_id=2, location=None)]})
    assert changed_tables(made) == tables_reading("department") >= {"dim_staff"}
    found = lake.rows(made, "dim_staff")
    assert keys(found) == [1, 3]
    assert {one["location"] for one in found} == {None}


def test_a_change_of_an_address_changes_its_counterparties_only(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add({"address": [row("address", phone="0044")]})
    assert changed_tables(made) == tables_reading("address") >= {"dim_counterparty", "dim_location"}
    [found] = lake.rows(made, "dim_counterparty")
    assert found["counterparty_legal_phone_number"] == "0044"


def test_a_delete_has_only_the_key(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add(deletes={table: [1] for table in ROWS})
    at = lake.writer.batches[1].captured_at
    assert changed_tables(made) == tables_reading(*ROWS) >= EXPECTED.keys()
    for table in EXPECTED:
        [found] = lake.rows(made, table)
        present = {name: value for name, value in found.items() if value is not None}
        assert present == {TOTESYS.tables[table].key_names[0]: 1, "valid_from": at, "_op": "delete"}


def test_a_batch_can_have_deleted_and_changed_rows(lake: Lake) -> None:
    lake.add({"design": [row("design"), row("design", design_id=2)]})
    made = lake.add({"design": [row("design", design_id=3)]}, deletes={"design": [1, 2]})
    assert [(r["design_id"], r["_op"]) for r in lake.rows(made, "dim_design")] == [
        (1, "delete"),
        (2, "delete"),
        (3, "upsert"),
    ]


def test_a_table_captured_whole_may_have_other_columns(lake: Lake) -> None:
    lake.add(ALL)
    lake.writer.columns["staff"].remove("last_updated")
    lake.writer.columns["staff"].append("shoe_size")
    again = [{**row("staff"), "staff_id": n, "shoe_size": "44"} for n in (1, 2)]
    made = lake.add({"staff": again}, whole={"staff"})
    assert keys(lake.rows(made, "dim_staff")) == [1, 2]
    made = lake.add({"department": [row("department", department_name="Sails")]})
    assert keys(lake.rows(made, "dim_staff")) == [1, 2]


def test_a_table_without_a_key_is_replaced_by_each_whole_capture(tmp_path: Path) -> None:
    lake = Lake(tmp_path, replace(TOTESYS, tables={"dim_staff": TOTESYS.tables["dim_staff"]}))
    lake.writer.keys["department"] = ()
    lake.add({"staff": [row("staff")], "department": [row("department")]}, whole={"department"})
    made = lake.add({"department": [row("department", location="Leeds")]}, whole={"department"})
    assert [found["location"] for found in lake.rows(made, "dim_staff")] == ["Leeds"]
    made = lake.add(whole={"department"})
    assert made.state["department"] == ()


def test_a_model_can_read_tables_without_joining_them(lake: Lake, models: Path) -> None:
    (models / "dim_payment_type.sql").write_text(
        "select payment_type_id, payment_type_name from payment_type where _changed"
        " union all select currency_id, currency_code from currency where _changed"
    )
    lake.writer.add({"currency": [row("currency", currency_id=7)]})
    [made] = lake.transform(load_models(models, TOTESYS.tables))
    assert keys(lake.rows(made, "dim_payment_type")) == [7]


def test_a_model_that_joins_a_new_table_needs_a_replay(lake: Lake, models: Path) -> None:
    lake.add(ALL)
    lake.writer.add({"design": [row("design")]})
    (models / "dim_design.sql").write_text(
        "select d.design_id, d.design_name, d.file_location, d.file_name"
        " from design d cross join currency c where d._changed or c._changed"
    )
    joining = load_models(models, TOTESYS.tables)
    with pytest.raises(ModelError, match=r"table currency.*totes replay"):
        lake.transform(joining)
    again = list(write_generation(lake.writer.store, lake.processed, 2, joining))
    assert [made.generation for made in again] == [2, 2]
    assert keys(lake.rows(again[1], "dim_design")) == [1]


def test_a_new_generation_is_used_once_it_is_published(lake: Lake) -> None:
    for _ in range(3):
        lake.add({"design": [row("design")]})
    generation = write_generation(
        lake.writer.store, lake.processed, 2, TOTESYS.models, last_batch=2
    )
    assert [made.batch for made in generation] == [1, 2]
    assert lake.transform() == []
    lake.processed.create(generation_path(2), b"{}")
    assert [(made.generation, made.batch) for made in lake.transform()] == [(2, 3)]


moves = st.dictionaries(
    st.integers(1, 3), st.none() | st.sampled_from(["Leeds", "York"]), max_size=2
)
histories = st.lists(
    st.tuples(changes, moves, st.sampled_from(["", "", "", "staff", "department"])),
    min_size=1,
    max_size=14,
)


@settings(max_examples=drawn(8, 100))
@given(history=histories, calls=st.lists(st.booleans(), min_size=14, max_size=14))
def test_stored_current_rows_equal_the_newest_versions_of_the_history(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[dict[int, int | None], dict[int, str | None], str]],
    calls: list[bool],
) -> None:
    """Staff and departments change; None deletes; some tables are captured in full."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    staff: dict[int, int] = {}
    locations: dict[int, str] = {}
    expected: list[set[tuple[int, str | None, str]]] = []
    without_department: list[set[str]] = []
    made: list[ProcessedManifest] = []
    for (hired, moved, whole), call in zip(history, calls, strict=False):
        deleted = {key for key, to in hired.items() if to is None and key in staff}
        deleted_departments = {key for key, to in moved.items() if to is None and key in locations}
        staff = {k: v for k, v in (staff | hired).items() if v is not None}
        locations = {k: v for k, v in (locations | moved).items() if v is not None}
        new = set(staff) if whole == "staff" else {k for k, v in hired.items() if v is not None}
        captured = set(locations) if whole == "department" else {k for k in moved if k in locations}
        lake.writer.add(
            {
                "staff": [row("staff", staff_id=k, department_id=staff[k]) for k in new],
                "department": [
                    row("department", department_id=k, location=locations[k]) for k in captured
                ],
            },
            deletes={"staff": deleted, "department": deleted_departments},
            whole={whole} - {""},
        )
        expected.append(
            {(key, None, "delete") for key in deleted}
            | {
                (key, locations[staff[key]], "upsert")
                for key in staff
                if staff[key] in locations and (key in new or staff[key] in captured)
            }
        )
        without_department.append({str(key) for key in new if staff[key] not in locations})
        if call:
            made += lake.transform()
    made += lake.transform()
    for batch, rows, rejected in zip(made, expected, without_department, strict=True):
        found = lake.rows(batch, "dim_staff")
        assert {(r["staff_id"], r["location"], r["_op"]) for r in found} == rows
        assert len(found) == len(rows)
        assert {r["key"] for r in lake.rejected_rows(batch)} == rejected
        for state_files in batch.state.values():
            sizes = [file.rows for file in state_files]
            assert all(size > sum(sizes[n + 1 :]) for n, size in enumerate(sizes))
