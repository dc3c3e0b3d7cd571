"""Transform: every batch becomes the star's rows, exactly or refused, once."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import duckdb
import pytest
from depth import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from lake_writer import ROWS, LakeWriter, row

from totes import failpoint
from totes.errors import LakeError, ModelError
from totes.lake.folder import FolderStore
from totes.lake.log import read_processed_manifest
from totes.lake.manifest import (
    Manifest,
    ProcessedManifest,
    StarFile,
    generation_path,
    manifest_path,
)
from totes.stages.transform import transform, write_generation
from totes.star.contract import LONGEST_TEXT_BYTES
from totes.star.definition import TOTESYS
from totes.star.models import Models, load_models

Row = dict[str, Any]
ALL = {table: [row(table)] for table in ROWS}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WRITTEN = {
    "created_date": date(2022, 11, 3),
    "created_time": time(14, 20, 49, 962000),
    "last_updated_date": date(2022, 11, 3),
    "last_updated_time": time(14, 20, 49, 962000),
}


READER = duckdb.connect()


@dataclass
class Lake:
    """Both stores, and what is in the processed one."""

    folder: Path

    def __post_init__(self) -> None:
        self.writer = LakeWriter(self.folder / "ingestion")
        self.processed = FolderStore(self.folder / "processed")

    def transform(self, models: Models | None = None) -> list[ProcessedManifest]:
        if models is None:
            return list(transform(self.writer.store, self.processed))
        return list(write_generation(self.writer.store, self.processed, 1, models))

    def add(self, *args: Any, **kwargs: Any) -> ProcessedManifest:
        """Publish an ingestion batch, and transform it."""
        self.writer.add(*args, **kwargs)
        [made] = self.transform()
        return made

    def made(self, batch: int) -> ProcessedManifest:
        return read_processed_manifest(self.processed, 1, batch)[0]

    def rows(self, made: ProcessedManifest, table: str) -> list[Row]:
        return [r for file in made.files if file.table == table for r in self.read(file)]

    def refused(self, made: ProcessedManifest) -> list[Row]:
        return [row for file in made.refused for row in self.read(file)]

    def read(self, file: StarFile) -> list[Row]:
        path = Path(self.processed.url) / file.path
        found = READER.execute(  # the driver needs another package to make timestamps
            "select * replace (epoch_us(valid_from) as valid_from)"
            " from read_parquet(?, hive_partitioning = false) order by all",
            [str(path)],
        )
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
        for made in rows:
            made["valid_from"] = EPOCH + timedelta(microseconds=made["valid_from"])
        assert len(rows) == file.rows
        assert sum(row.get("_op") == "delete" for row in rows) == file.deletes
        return rows


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the models, to be changed."""
    with as_file(files("totes.star") / "totesys" / "models") as shipped:
        return shutil.copytree(shipped, tmp_path / "models")


def edit(models: Path, star: str, old: str, new: str) -> Models:
    path = models / f"{star}.sql"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return load_models(models, TOTESYS.tables)


def keys(rows: list[Row]) -> list[Any]:
    return [next(iter(found.values())) for found in rows]


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
        **WRITTEN,
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
        **WRITTEN,
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
        **WRITTEN,
        "transaction_id": 1,
        "counterparty_id": 1,
        "payment_amount": Decimal("552548.62"),
        "currency_id": 1,
        "payment_type_id": 1,
        "paid": False,
        "payment_date": date(2022, 11, 7),
    },
}


def test_every_star_table_gets_its_rows(lake: Lake) -> None:
    made = lake.add(ALL)
    since = {"valid_from": lake.writer.batches[0].captured_at, "_op": "upsert"}
    for star, expected in EXPECTED.items():
        assert lake.rows(made, star) == [expected | since]
        assert [list(found) for found in lake.rows(made, star)] == [
            [*(column.name for column in TOTESYS.tables[star].columns), "valid_from", "_op"]
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


def test_files_lie_below_their_generation_and_day(lake: Lake) -> None:
    made = lake.add({"design": [row("design"), row("design", design_id=2, file_name=None)]})
    day = "year=2026/month=11/day=22/000000000001-"
    assert made.files[0].path.startswith(f"generation=1/dim_design/{day}")
    assert made.refused[0].path.startswith(f"generation=1/quarantine/dim_design/{day}")
    made = lake.add({"staff": [row("staff")]})
    assert made.state["staff"][0].path.startswith("generation=1/state/staff/year=2026/")


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
    known = lake.add({"sales_order": [row("sales_order", sales_order_id=2)]})
    assert [file.table for file in known.files] == ["fact_sales_order"]
    assert known.rows == 1
    further = lake.add({"payment": [row("payment", payment_date="2025-01-01")]})
    assert {day["year"] for day in lake.rows(further, "dim_date")} == {2024, 2025, 2026}
    again = lake.add({"payment": [row("payment", payment_id=2, payment_date="2026-01-01")]})
    assert {day["year"] for day in lake.rows(again, "dim_date")} == {2027}
    assert len(lake.rows(again, "dim_date")) == 365
    assert [file.path for file in again.state["dim_date"]] == [
        file.path
        for made in (lake.made(1), further, again)
        for file in made.files
        if file.table == "dim_date"
    ]


def test_a_batch_without_changes_is_passed_on_empty(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add()
    assert (made.batch, made.files, made.refused) == (2, (), ())


def test_every_batch_is_made_once_and_in_order(lake: Lake) -> None:
    for _ in range(3):
        lake.writer.add(ALL)
    made = lake.transform()
    assert [one.batch for one in made] == [1, 2, 3]
    assert [one.captured_at for one in made] == [one.captured_at for one in lake.writer.batches]
    assert made[1].previous is not None
    assert lake.transform() == []


def test_only_tables_that_changed_make_files(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add({"design": [row("design", file_location="/tmp")]})  # noqa: S108  a value
    assert [file.table for file in made.files] == ["dim_design"]


def test_staff_follow_their_department_alone(lake: Lake) -> None:
    people = [row("staff", staff_id=n, department_id=1 + n % 2) for n in range(1, 5)]
    departments = [row("department"), row("department", department_id=2)]
    lake.add({"staff": people, "department": departments})
    made = lake.add({"department": [row("department", department_id=2, location=None)]})
    assert [file.table for file in made.files] == ["dim_staff"]
    found = lake.rows(made, "dim_staff")
    assert keys(found) == [1, 3]
    assert {one["location"] for one in found} == {None}


def test_counterparties_follow_their_address_alone(lake: Lake) -> None:
    lake.add(ALL)
    made = lake.add({"address": [row("address", phone="0044")]})
    assert {file.table for file in made.files} == {"dim_counterparty", "dim_location"}
    [found] = lake.rows(made, "dim_counterparty")
    assert found["counterparty_legal_phone_number"] == "0044"


def test_staff_without_a_department_are_refused_not_lost(lake: Lake) -> None:
    made = lake.add({"staff": [row("staff", department_id=9)]})
    assert [(found["key"], found["column_name"]) for found in lake.refused(made)] == [
        ("1", "department_name")
    ]


def test_a_delete_is_the_key_alone(lake: Lake) -> None:
    lake.add(ALL)
    gone = {table: [1] for table in ROWS if table != "department"}
    made = lake.add(deletes=gone)
    at = lake.writer.batches[1].captured_at
    assert {file.table for file in made.files} == EXPECTED.keys()
    for table in EXPECTED:
        [found] = lake.rows(made, table)
        present = {name: value for name, value in found.items() if value is not None}
        assert present == {TOTESYS.tables[table].key_names[0]: 1, "valid_from": at, "_op": "delete"}


def test_deleted_and_changed_rows_come_together(lake: Lake) -> None:
    lake.add({"design": [row("design"), row("design", design_id=2)]})
    made = lake.add({"design": [row("design", design_id=3)]}, deletes={"design": [1, 2]})
    assert [(r["design_id"], r["_op"]) for r in lake.rows(made, "dim_design")] == [
        (1, "delete"),
        (2, "delete"),
        (3, "upsert"),
    ]


def test_what_breaks_the_contract_is_set_aside_and_the_rest_goes_on(lake: Lake) -> None:
    orders = [row("sales_order", sales_order_id=n) for n in range(1, 4)]
    orders[1] |= {"agreed_delivery_date": "2023/02/03", "units_sold": None}
    made = lake.add(
        {"sales_order": orders, "design": [row("design")]}, deletes={"sales_order": [9]}
    )
    assert keys(lake.rows(made, "fact_sales_order")) == [1, 3, 9]
    assert keys(lake.rows(made, "dim_design")) == [1]
    [refused] = lake.refused(made)
    text = json.loads(refused.pop("row"))
    assert refused == {
        "star_table": "fact_sales_order",
        "key": "2",
        "column_name": "units_sold",
        "value": None,
        "reason": "is missing",
        "valid_from": lake.writer.batches[0].captured_at,
    }
    assert list(text) == [
        *(column.name for column in TOTESYS.tables["fact_sales_order"].columns),
        "_op",
    ]
    assert text["agreed_delivery_date"] == "2023/02/03"


REFUSED = [
    ("sales_order", "unit_price", "2.005", ("unit_price", "is not a number with")),
    ("sales_order", "unit_price", "NaN", ("unit_price", "is not a number with")),
    ("sales_order", "created_at", "infinity", ("created_date", "is not a date")),
    ("sales_order", "created_at", "0044-03-15 14:20:49 BC", ("created_date", "is not a date")),
    ("sales_order", "created_at", "2022-11-03 14:20:49 BC", ("created_time", "is not a time")),
    ("sales_order", "last_updated", "2022-11-03T14:20:49", ("last_updated_date", "is not")),
    ("payment", "payment_date", "2022-02-30", ("payment_date", "is not a date")),
    ("payment", "paid", None, ("paid", "is missing")),
    ("purchase_order", "item_quantity", 2**31, ("item_quantity", "is not a whole number")),
    ("purchase_order", "item_code", None, ("item_code", "is missing")),
    ("currency", "currency_code", "BTC", ("currency_name", "ISO 4217 has no such code")),
    ("currency", "currency_code", "gbp", ("currency_name", "ISO 4217 has no such code")),
    ("transaction", "sales_order_id", "1.0", ("sales_order_id", "is not a whole number")),
]
"""What stands in a column of a table, and the column and the reason that are told."""


def test_a_refusal_names_column_and_reason(lake: Lake) -> None:
    tables: dict[str, list[Row]] = {}
    expected = {}
    for number, (table, column, value, said) in enumerate(REFUSED, start=1):
        wrong: Row = {f"{table}_id": number, column: value}
        tables.setdefault(table, []).append(row(table, **wrong))
        expected[str(number)] = said
    made = lake.add(tables)
    found = {
        refused["key"]: (refused["column_name"], refused["reason"])
        for refused in lake.refused(made)
    }
    assert found.keys() == expected.keys()
    for key, (column_name, reason) in expected.items():
        assert found[key][0] == column_name
        assert reason in found[key][1]
    assert made.files == ()


def test_a_deleted_key_that_can_not_be_is_refused(lake: Lake) -> None:
    made = lake.add(deletes={"design": [2**40, 7]})
    assert keys(lake.rows(made, "dim_design")) == [7]
    assert lake.refused(made)[0]["key"] == str(2**40)


TEXTS = [
    "",
    " ",
    "null",
    "NULL",
    "\\N",
    "O'Keefe",
    '"',
    "\\",
    "a\nb\tc",
    "\x01\x7f",
    "é",
    "👜",
    "\u2028",
    "{}",
]


def test_text_arrives_as_it_was(lake: Lake) -> None:
    designs = [
        row("design", design_id=number, design_name=text) for number, text in enumerate(TEXTS)
    ]
    made = lake.add({"design": designs})
    assert [found["design_name"] for found in lake.rows(made, "dim_design")] == TEXTS


WIDE = "tote 👜 "
"""Ten bytes."""


def test_the_longest_text_arrives_and_a_longer_one_is_set_aside(lake: Lake) -> None:
    texts = {
        1: "x" * LONGEST_TEXT_BYTES,
        2: "x" * (LONGEST_TEXT_BYTES + 1),
        3: '"\\\n\x01/é👜' * 20_000,
        4: WIDE * 100_000 + "ends",
        5: WIDE * 4_000_000,
        6: "\x01" * LONGEST_TEXT_BYTES,
    }
    designs = [row("design", design_id=n, design_name=text) for n, text in texts.items()]
    made = lake.add({"design": [*designs, *(row("design", design_id=n) for n in range(7, 1000))]})
    names = {found["design_id"]: found["design_name"] for found in lake.rows(made, "dim_design")}
    assert len(names) == 997
    assert {n: names[n] for n in (1, 3, 4, 6)} == {n: texts[n] for n in (1, 3, 4, 6)}
    refused = {found["key"]: found for found in lake.refused(made)}
    assert refused.keys() == {"2", "5"}
    for found in refused.values():
        assert found["column_name"] == "design_name"
        assert found["reason"] == "is longer than 1048576 bytes"
        assert len(found["value"]) < len(found["row"]) < 1000


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table in ROWS for column in sorted(TOTESYS.models.columns(table))],
)
def test_no_model_makes_another_value_of_a_text_that_is_too_long(
    lake: Lake, table: str, column: str
) -> None:
    """It is cut before models read it: what they make of it must be refused, or not be there."""
    before = lake.add(ALL)
    text = str(row(table)[column]) + " " * LONGEST_TEXT_BYTES
    made = lake.add({table: [row(table, **{column: text})]})
    for star in {file.table for file in before.files}:
        rows = [found for found in lake.rows(made, star) if found["_op"] == "upsert"]
        assert all(found in lake.rows(before, star) for found in rows), star


def test_a_table_captured_whole_may_have_other_columns(lake: Lake) -> None:
    lake.add(ALL)
    lake.writer.columns["staff"].remove("last_updated")
    lake.writer.columns["staff"].append("shoe_size")
    again = [{**row("staff"), "staff_id": n, "shoe_size": "44"} for n in (1, 2)]
    made = lake.add({"staff": again}, whole={"staff"})
    assert keys(lake.rows(made, "dim_staff")) == [1, 2]
    made = lake.add({"department": [row("department", department_name="Sails")]})
    assert keys(lake.rows(made, "dim_staff")) == [1, 2]


def test_a_table_without_a_key_is_replaced_by_each_whole_capture(lake: Lake) -> None:
    lake.writer.keys["department"] = ()
    lake.add({"staff": [row("staff")], "department": [row("department")]}, whole={"department"})
    made = lake.add({"department": [row("department", location="Leeds")]}, whole={"department"})
    assert [found["location"] for found in lake.rows(made, "dim_staff")] == ["Leeds"]
    made = lake.add(whole={"department"})
    assert made.state["department"] == ()


def test_a_missing_column_stops_at_that_batch_and_it_goes_on_once_mended(
    lake: Lake, models: Path
) -> None:
    lake.add(ALL)
    lake.writer.columns["design"].remove("file_name")
    lake.writer.add({"design": [row("design")]}, whole={"design"})
    lake.writer.add({"sales_order": [row("sales_order")]})
    before = list(lake.processed.list(""))
    with pytest.raises(ModelError, match=r"dim_design .*batch 2.*design\.file_name"):
        lake.transform()
    assert list(lake.processed.list("")) == before
    mended = edit(models, "dim_design", "file_name\n", "design_name as file_name\n")
    assert [made.batch for made in lake.transform(mended)] == [2, 3]


def test_a_missing_table_is_named(lake: Lake) -> None:
    del lake.writer.columns["department"]
    lake.writer.add({"staff": [row("staff")]})
    with pytest.raises(ModelError, match=r"dim_staff .*batch 1.*no table department"):
        lake.transform()


def test_another_primary_key_than_the_stars_is_named(lake: Lake) -> None:
    lake.writer.keys["design"] = ("design_id", "design_name")
    lake.writer.add({"design": [row("design")]})
    with pytest.raises(ModelError, match=r"dim_design .*batch 1.*design_id, design_name"):
        lake.transform()


@pytest.mark.parametrize("broken", ["cast(file_name as int)", "no_such(file_name)", "error('x')"])
def test_a_model_that_fails_is_named_and_leaves_nothing(
    lake: Lake, models: Path, broken: str
) -> None:
    lake.writer.add(ALL)
    failing = edit(models, "dim_design", "file_name\n", f"{broken} as file_name\n")
    with pytest.raises(ModelError, match=r"dim_design can't run on batch 1: "):
        lake.transform(failing)
    assert list(lake.processed.list("")) == []
    assert [made.batch for made in lake.transform()] == [1]


def test_a_model_may_read_tables_without_joining_them(lake: Lake, models: Path) -> None:
    (models / "dim_payment_type.sql").write_text(
        "select payment_type_id, payment_type_name from payment_type where _changed"
        " union all select currency_id, currency_code from currency where _changed"
    )
    lake.writer.add({"currency": [row("currency", currency_id=7)]})
    [made] = lake.transform(load_models(models, TOTESYS.tables))
    assert keys(lake.rows(made, "dim_payment_type")) == [7]


def test_a_model_that_joins_a_table_anew_needs_a_replay(lake: Lake, models: Path) -> None:
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


def test_a_new_generation_may_end_early_and_is_followed_once_published(lake: Lake) -> None:
    for _ in range(3):
        lake.add({"design": [row("design")]})
    anew = write_generation(lake.writer.store, lake.processed, 2, TOTESYS.models, upto=2)
    assert [made.batch for made in anew] == [1, 2]
    assert lake.transform() == []
    lake.processed.create(generation_path(2), b"{}")
    assert [(made.generation, made.batch) for made in lake.transform()] == [(2, 3)]


@pytest.fixture
def at_failpoint() -> Iterator[dict[str, Any]]:
    yield failpoint.actions
    failpoint.actions.clear()


def test_a_crash_before_the_manifest_leaves_nothing_visible(
    lake: Lake, at_failpoint: dict[str, Any]
) -> None:
    class Killed(Exception):
        pass

    def die() -> None:
        raise Killed

    lake.writer.add(ALL)
    at_failpoint["transform.before-manifest"] = die
    with pytest.raises(Killed):
        lake.transform()
    assert not list(lake.processed.list("generation=1/batches/"))
    at_failpoint.clear()
    [made] = lake.transform()
    assert keys(lake.rows(made, "dim_staff")) == [1]


def test_of_two_transforms_one_publishes_and_the_other_goes_on(
    lake: Lake, at_failpoint: dict[str, Any]
) -> None:
    lake.writer.add(ALL)
    lake.writer.add({"department": [row("department", location="Leeds")]})
    winner: list[ProcessedManifest] = []

    def be_overtaken() -> None:
        at_failpoint.clear()
        winner.append(next(transform(lake.writer.store, lake.processed)))

    at_failpoint["transform.before-manifest"] = be_overtaken
    [second] = lake.transform()
    assert [winner[0].batch, second.batch] == [1, 2]
    assert [found["location"] for found in lake.rows(second, "dim_staff")] == ["Leeds"]


def damage(lake: Lake, path: str, data: bytes) -> None:
    local = Path(lake.folder) / path
    local.chmod(0o644)
    local.write_bytes(data)


def test_a_damaged_data_file_is_named_and_nothing_is_published(lake: Lake) -> None:
    batch = lake.writer.add(ALL)
    path = first_file(batch, "design")
    good = (lake.folder / "ingestion" / path).read_bytes()
    damage(lake, f"ingestion/{path}", bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(LakeError, match=path):
        lake.transform()
    assert list(lake.processed.list("")) == []
    damage(lake, f"ingestion/{path}", good)
    assert len(lake.transform()) == 1


def test_a_missing_data_file_is_named(lake: Lake) -> None:
    batch = lake.writer.add(ALL)
    path = first_file(batch, "payment")
    (lake.folder / "ingestion" / path).unlink()
    with pytest.raises(LakeError, match=path):
        lake.transform()


def test_damaged_current_rows_are_named(lake: Lake) -> None:
    made = lake.add(ALL)
    damage(lake, f"processed/{made.state['staff'][0].path}", b"")
    lake.writer.add({"department": [row("department")]})
    with pytest.raises(LakeError, match="generation=1/state/staff/"):
        lake.transform()


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_another_ingestion_store_is_refused_however_long(
    lake: Lake, tmp_path: Path, batches: int
) -> None:
    lake.add(ALL)
    other = LakeWriter(tmp_path / "other")
    for number in range(batches):
        other.add({"design": [row("design", design_id=number + 1)]})
    with pytest.raises(LakeError, match="was not made from that of"):
        list(transform(other.store, lake.processed))


def test_a_batch_that_names_another_predecessor_is_refused(lake: Lake) -> None:
    lake.add(ALL)
    stranger = lake.writer.add().model_copy(update={"previous": "0" * 64})
    damage(lake, f"ingestion/{manifest_path(2)}", stranger.to_json())
    with pytest.raises(LakeError, match="does not follow"):
        lake.transform()


def first_file(batch: Manifest, table: str) -> str:
    found = batch.table(table)
    assert found is not None
    return found.files[0].path


def test_released_rows_are_tried_again_as_of_their_batch(lake: Lake, models: Path) -> None:
    orders = [row("sales_order", sales_order_id=n) for n in range(1, 5)]
    orders[1]["agreed_delivery_date"] = "2030/02/03"
    orders[2]["unit_price"] = "2.005"
    first = lake.add({"sales_order": orders})
    assert [found["key"] for found in lake.refused(first)] == ["2", "3"]
    lake.add({"sales_order": [row("sales_order", sales_order_id=2, units_sold=7)]})
    mended = edit(
        models,
        "fact_sales_order",
        "agreed_delivery_date,",
        "replace(agreed_delivery_date, '/', '-') as agreed_delivery_date,",
    )
    lake.writer.add(released=(1,))
    [made] = lake.transform(mended)
    [released] = lake.rows(made, "fact_sales_order")
    assert released["sales_order_id"] == 2
    assert released["agreed_delivery_date"] == date(2030, 2, 3)
    assert released["valid_from"] == lake.writer.batches[0].captured_at
    assert {2029, 2030, 2031} <= {day["year"] for day in lake.rows(made, "dim_date")}
    assert made.refused == ()
    assert released["units_sold"] == 84754


def test_releasing_a_batch_without_refused_rows_does_nothing(lake: Lake) -> None:
    lake.add(ALL)
    assert lake.add(released=(1,)).files == ()


def test_a_released_row_is_joined_with_what_was_current_then(lake: Lake, models: Path) -> None:
    lake.add({"department": [row("department")]})
    refused = lake.add({"staff": [row("staff", last_name=None)]}, deletes={"staff": [2**40]})
    assert {found["key"] for found in lake.refused(refused)} == {"1", str(2**40)}
    lake.add({"department": [row("department", location="Leeds")]})
    mended = edit(
        models, "dim_staff", "staff.last_name", "coalesce(staff.last_name, '') as last_name"
    )
    lake.writer.add(released=(2,))
    [made] = lake.transform(mended)
    [found] = lake.rows(made, "dim_staff")
    assert (found["last_name"], found["location"]) == ("", "Manchester")


changes = st.dictionaries(st.integers(1, 6), st.none() | st.integers(1, 3), max_size=4)
moves = st.dictionaries(
    st.integers(1, 3), st.none() | st.sampled_from(["Leeds", "York"]), max_size=2
)
histories = st.lists(
    st.tuples(changes, moves, st.sampled_from(["", "", "", "staff", "department"])),
    min_size=1,
    max_size=14,
)


@settings(max_examples=drawn(15, 100))
@given(history=histories, calls=st.lists(st.booleans(), min_size=14, max_size=14))
def test_kept_rows_give_what_the_whole_history_gives(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[tuple[dict[int, int | None], dict[int, str | None], str]],
    calls: list[bool],
) -> None:
    """Staff change department, departments move; None deletes, some captures are whole."""
    lake = Lake(tmp_path_factory.mktemp("lake"))
    staff: dict[int, int] = {}
    places: dict[int, str] = {}
    expected: list[set[tuple[int, str | None, str]]] = []
    homeless: list[set[str]] = []
    made: list[ProcessedManifest] = []
    for (hired, moved, whole), call in zip(history, calls, strict=False):
        gone = {key for key, to in hired.items() if to is None and key in staff}
        closed = {key for key, to in moved.items() if to is None and key in places}
        staff = {k: v for k, v in (staff | hired).items() if v is not None}
        places = {k: v for k, v in (places | moved).items() if v is not None}
        new = set(staff) if whole == "staff" else {k for k, v in hired.items() if v is not None}
        seen = set(places) if whole == "department" else {k for k in moved if k in places}
        lake.writer.add(
            {
                "staff": [row("staff", staff_id=k, department_id=staff[k]) for k in new],
                "department": [
                    row("department", department_id=k, location=places[k]) for k in seen
                ],
            },
            deletes={"staff": gone, "department": closed},
            whole={whole} - {""},
        )
        expected.append(
            {(key, None, "delete") for key in gone}
            | {
                (key, places[staff[key]], "upsert")
                for key in staff
                if staff[key] in places and (key in new or staff[key] in seen)
            }
        )
        homeless.append({str(key) for key in new if staff[key] not in places})
        if call:
            made += lake.transform()
    made += lake.transform()
    for batch, rows, refused in zip(made, expected, homeless, strict=True):
        found = lake.rows(batch, "dim_staff")
        assert {(r["staff_id"], r["location"], r["_op"]) for r in found} == rows
        assert len(found) == len(rows)
        assert {r["key"] for r in lake.refused(batch)} == refused
        for files_ in batch.state.values():
            sizes = [file.rows for file in files_]
            assert all(size > sum(sizes[n + 1 :]) for n, size in enumerate(sizes))
