"""The transform stage and rows that break the contract: quarantine, long texts, release."""

import json
from datetime import date
from pathlib import Path

import pytest
from lake_writer import ROWS, row
from transform_lake import ALL, READER, Lake, Row, edit, keys

from totes.lake.manifest import processed_manifest_path, sha256_hex
from totes.star.contract import MAX_TEXT_BYTES
from totes.star.folder import TOTESYS


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_staff_without_a_department_are_quarantined(lake: Lake) -> None:
    made = lake.add({"staff": [row("staff", department_id=9)]})
    assert [(found["key"], found["column_name"]) for found in lake.rejected_rows(made)] == [
        ("1", "department_name")
    ]


def test_rows_that_break_the_contract_are_quarantined_and_others_are_accepted(lake: Lake) -> None:
    orders = [row("sales_order", sales_order_id=n) for n in range(1, 4)]
    orders[1] |= {"agreed_delivery_date": "2023/02/03", "units_sold": None}
    made = lake.add(
        {"sales_order": orders, "design": [row("design")]}, deletes={"sales_order": [9]}
    )
    assert keys(lake.rows(made, "fact_sales_order")) == [1, 3, 9]
    assert keys(lake.rows(made, "dim_design")) == [1]
    [rejected] = lake.rejected_rows(made)
    text = json.loads(rejected.pop("row"))
    assert rejected == {
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


REJECTED_VALUES = [
    ("sales_order", "unit_price", "2.005", ("unit_price", "is not a number with")),
    ("sales_order", "unit_price", "NaN", ("unit_price", "is not a number with")),
    ("sales_order", "created_at", "infinity", ("created_date", "is not a date")),
    ("sales_order", "created_at", "0044-03-15 14:20:49 BC", ("created_date", "is not a date")),
    ("sales_order", "created_at", "2022-11-03 14:20:49 BC", ("created_time", "is not a time")),
    ("sales_order", "last_updated", "2022-11-03T14:20:49", ("last_updated_date", "is not")),
    ("payment", "payment_date", "2022-02-30", ("payment_date", "is not a date")),
    ("payment", "paid", None, ("paid", "is missing")),
    ("purchase_order", "item_quantity", 2**31, ("item_quantity", "is not a 32-bit integer")),
    ("purchase_order", "item_code", None, ("item_code", "is missing")),
    ("currency", "currency_code", "BTC", ("currency_name", "currency_code is not in ISO 4217")),
    ("currency", "currency_code", "gbp", ("currency_name", "currency_code is not in ISO 4217")),
    ("transaction", "sales_order_id", "1.0", ("sales_order_id", "is not a 64-bit integer")),
]
"""Source table, column and value; star column and reason in quarantine."""


def test_quarantine_has_column_and_reason(lake: Lake) -> None:
    tables: dict[str, list[Row]] = {}
    expected = {}
    for number, (table, column, value, column_and_reason) in enumerate(REJECTED_VALUES, start=1):
        changes: Row = {f"{table}_id": number, column: value}
        tables.setdefault(table, []).append(row(table, **changes))
        expected[str(number)] = column_and_reason
    made = lake.add(tables)
    found = {
        rejected["key"]: (rejected["column_name"], rejected["reason"])
        for rejected in lake.rejected_rows(made)
    }
    assert found.keys() == expected.keys()
    for key, (column_name, reason) in expected.items():
        assert found[key][0] == column_name
        assert reason in found[key][1]
    assert made.files == ()


def test_a_deleted_key_that_breaks_the_contract_is_rejected(lake: Lake) -> None:
    made = lake.add(deletes={"design": [2**40, 7]})
    assert keys(lake.rows(made, "dim_design")) == [7]
    assert lake.rejected_rows(made)[0]["key"] == str(2**40)


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


def test_text_is_unchanged(lake: Lake) -> None:
    designs = [
        row("design", design_id=number, design_name=text) for number, text in enumerate(TEXTS)
    ]
    made = lake.add({"design": designs})
    assert [found["design_name"] for found in lake.rows(made, "dim_design")] == TEXTS


WIDE = "tote 👜 "
"""Ten bytes."""


def test_the_longest_text_is_accepted_and_a_longer_one_quarantined(lake: Lake) -> None:
    texts = {
        1: "x" * MAX_TEXT_BYTES,
        2: "x" * (MAX_TEXT_BYTES + 1),
        3: '"\\\n\x01/é👜' * 20_000,
        4: WIDE * 100_000 + "ends",
        5: WIDE * 4_000_000,
        6: "\x01" * MAX_TEXT_BYTES,
    }
    designs = [row("design", design_id=n, design_name=text) for n, text in texts.items()]
    made = lake.add({"design": [*designs, *(row("design", design_id=n) for n in range(7, 1000))]})
    names = {found["design_id"]: found["design_name"] for found in lake.rows(made, "dim_design")}
    assert len(names) == 997
    assert {n: names[n] for n in (1, 3, 4, 6)} == {n: texts[n] for n in (1, 3, 4, 6)}
    rejected = {found["key"]: found for found in lake.rejected_rows(made)}
    assert rejected.keys() == {"2", "5"}
    for found in rejected.values():
        assert found["column_name"] == "design_name"
        assert found["reason"] == "is longer than 1048576 bytes"
        assert len(found["value"]) < len(found["row"]) < 1000


@pytest.mark.few(8)
@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table in ROWS for column in sorted(TOTESYS.models.columns(table))],
)
def test_no_model_changes_the_value_of_a_text_that_is_too_long(
    lake: Lake, table: str, column: str
) -> None:
    """It is truncated before models read it: their result must be rejected or unchanged."""
    before = lake.add(ALL)
    text = str(row(table)[column]) + " " * MAX_TEXT_BYTES
    made = lake.add({table: [row(table, **{column: text})]})
    since = before.captured_at
    for star in {file.table for file in before.files}:
        rows = [found for found in lake.rows(made, star) if found["_op"] == "upsert"]
        expected = lake.rows(before, star)
        assert all({**found, "valid_from": since} in expected for found in rows), star


def test_released_rows_are_transformed_as_of_their_batch(lake: Lake, models: Path) -> None:
    orders = [row("sales_order", sales_order_id=n) for n in range(1, 5)]
    orders[1]["agreed_delivery_date"] = "2030/02/03"
    orders[2]["unit_price"] = "2.005"
    first = lake.add({"sales_order": orders})
    assert [found["key"] for found in lake.rejected_rows(first)] == ["2", "3"]
    lake.add({"sales_order": [row("sales_order", sales_order_id=2, units_sold=7)]})
    corrected = edit(
        models,
        "fact_sales_order",
        "agreed_delivery_date,",
        "replace(agreed_delivery_date, '/', '-') as agreed_delivery_date,",
    )
    lake.writer.add(released=(1,))
    [made] = lake.transform(corrected)
    [released] = lake.rows(made, "fact_sales_order")
    assert released["sales_order_id"] == 2
    assert released["agreed_delivery_date"] == date(2030, 2, 3)
    assert released["valid_from"] == lake.writer.batches[0].captured_at
    assert {2029, 2030, 2031} <= {day["year"] for day in lake.rows(made, "dim_date")}
    assert made.rejected == ()
    assert released["units_sold"] == 84754


def test_rows_of_several_quarantine_files_are_released(lake: Lake, models: Path) -> None:
    """A cluster writes several."""
    designs = [row("design", design_id=n, design_name=None) for n in (1, 2)]
    made = lake.add({"design": designs})
    [whole] = [file for file in made.rejected if file.table == "dim_design"]
    others = [file for file in made.rejected if file != whole]
    folder, parts = Path(lake.processed.url), []
    for key in ("1", "2"):
        path = f"{whole.path}.{key}.parquet"
        READER.execute(
            f"copy (from '{folder / whole.path}' where key = '{key}') to '{folder / path}'"
        )
        content = (folder / path).read_bytes()
        update = {"path": path, "rows": 1, "bytes": len(content), "sha256": sha256_hex(content)}
        parts.append(whole.model_copy(update=update))
    manifest = folder / processed_manifest_path(1, 1)
    manifest.unlink()
    manifest.write_bytes(made.model_copy(update={"rejected": (*parts, *others)}).to_json())
    corrected = edit(models, "dim_design", "design_name,", "'?' as design_name,")
    lake.writer.add(released=(1,))
    [made] = lake.transform(corrected)
    assert keys(lake.rows(made, "dim_design")) == [1, 2]
    assert "dim_design" not in {file.table for file in made.rejected}


def test_releasing_a_batch_without_rejected_rows_does_nothing(lake: Lake) -> None:
    lake.add(ALL)
    assert lake.add(released=(1,)).files == ()


def test_a_released_row_is_joined_with_the_rows_current_in_its_batch(
    lake: Lake, models: Path
) -> None:
    lake.add({"department": [row("department")]})
    rejected = lake.add({"staff": [row("staff", last_name=None)]}, deletes={"staff": [2**40]})
    assert {found["key"] for found in lake.rejected_rows(rejected)} == {"1", str(2**40)}
    lake.add({"department": [row("department", location="Leeds")]})
    corrected = edit(
        models, "dim_staff", "staff.last_name", "coalesce(staff.last_name, '') as last_name"
    )
    lake.writer.add(released=(2,))
    [made] = lake.transform(corrected)
    [found] = lake.rows(made, "dim_staff")
    assert (found["last_name"], found["location"]) == ("", "Manchester")
