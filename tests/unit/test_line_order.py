"""Which lines count of a table that was read from the log, compared with lines sorted in Python."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_reader import Line
from lake_writer import LakeWriter
from transform_lake import ALL, READER, Lake, Row

from totes.errors import LakeError
from totes.lake.line import is_upsert, order_in_log
from totes.star.line_order import LineOrder, line_order_sql
from totes.star.relation import JsonLines

KEY = ("year", 'the "number"')
CAPTURED_AT = "timestamptz '2026-11-23'"

lines = st.lists(
    st.fixed_dictionaries(
        {
            "_op": st.sampled_from(["upsert", "delete"]),
            "_at": st.integers(1, 3).map("2026-11-22T00:00:00.00000{}Z".format),
            "_seq": st.integers(0, 12),
            KEY[0]: st.integers(9, 10),
            KEY[1]: st.sampled_from(["1", "", "O'Keefe"]),
            "value": st.text(max_size=3),
        }
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda line: (key_of(line), order_in_log(line)),
)


def key_of(line: Line) -> tuple[Any, ...]:
    return tuple(str(line[name]) for name in KEY)


def last_by(found: list[Line], group: Callable[[Line], object]) -> list[Line]:
    return list({group(line): line for line in sorted(found, key=order_in_log)}.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lines")


@given(found=lines)
def test_the_last_line_of_a_key_and_moment_counts(folder: Path, found: list[Line]) -> None:
    path, order = folder / "lines.jsonl", folder / "order.parquet"
    path.write_text("".join(json.dumps(line) + "\n" for line in found))
    line_order = LineOrder(order, KEY, len(found))
    table = JsonLines((path,), 1 << 20, 1, key=KEY, of_log=True, order=line_order)
    sql = line_order_sql(table.read(KEY), KEY)
    READER.execute(f"copy ({sql}) to '{order}' (format parquet)")

    def query(rows: str, *columns: str) -> list[tuple[Any, ...]]:
        names = ", ".join(f'"{name}"' for name in columns)
        return sorted(READER.execute(f"select {names} from ({rows})").fetchall())

    at = "strftime(_at, '%Y-%m-%dT%H:%M:%S.%fZ') as moment"
    versions = last_by(found, lambda line: (key_of(line), line["_at"]))
    newest = last_by(versions, key_of)
    deleted = {key_of(line) for line in newest if not is_upsert(line)}
    removed = last_by([line for line in versions if is_upsert(line)], key_of)
    removed = [line for line in removed if key_of(line) in deleted]
    assert query(table.newest(["value"], "_op"), "_op", "value") == sorted(
        (line["_op"], line["value"]) for line in newest
    )
    assert query(table.changed(["value"]), "value") == sorted(
        (line["value"],) for line in newest if is_upsert(line)
    )
    rows = table.versions(["value"], CAPTURED_AT)
    assert query(f"select value, {at} from ({rows})", "moment", "value") == sorted(
        (line["_at"], line["value"]) for line in versions if is_upsert(line)
    )
    assert query(table.removed(["value"]), "value") == sorted((line["value"],) for line in removed)
    assert table.order is not None
    assert READER.execute(table.order.count_removed).fetchone() == (len(removed),)
    names = {KEY[1]: "number", KEY[0]: "year"}
    rows = table.deleted(names, CAPTURED_AT, each=False)
    assert set(query(rows, "year", "number")) == deleted
    rows = table.deleted(names, CAPTURED_AT, each=True)
    assert query(f"select *, {at} from ({rows})", "year", "number", "moment") == sorted(
        (*key_of(line), line["_at"]) for line in versions if not is_upsert(line)
    )


def test_lines_are_found_by_their_number_in_files_of_any_number(folder: Path) -> None:
    """Also when rows may be written in any order, by all processors; no join collects lines."""
    line = {"_op": "upsert", "_at": "2026-11-22T00:00:00.000001Z", "name": "x" * 100}
    paths = tuple(folder / f"part{number}.jsonl" for number in range(5))
    count, key, order = 60_000, ("id",), folder / "parts.parquet"
    for number, path in enumerate(paths):
        lines = ({**line, "id": n % 1000, "_seq": n} for n in range(number, count, len(paths)))
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    table = JsonLines(paths, 1 << 20, 1, key=key, of_log=True, order=LineOrder(order, key, count))
    READER.execute(f"copy ({line_order_sql(table.read(key), key)}) to '{order}' (format parquet)")
    written = folder / "written.parquet"
    sql = table.newest(["id"], "_seq")
    for _ in range(3):
        READER.execute(f"copy ({sql}) to '{written}' (format parquet, preserve_order false)")
        found = READER.execute(f"select _seq from '{written}' order by 1").fetchall()
        assert found == [(number,) for number in range(count - 1000, count)]
    for rows in (sql, table.versions(["name"], CAPTURED_AT), table.removed(["name"])):
        [(_, plan)] = READER.execute(f"explain {rows}").fetchall()
        assert "Hash Join" not in plan
        assert "Read Json" in plan


# A batch of the log, through the whole stage


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.add(ALL)
    return lake


def ago(writer: LakeWriter, microseconds: int) -> datetime:
    """Return a moment before the capture of the next batch."""
    captured_at = writer.captured_at(len(writer.batches) + 1)
    return captured_at - timedelta(microseconds=microseconds)


def events(rows: list[Row], column: str, captured_at: datetime) -> list[tuple[Any, ...]]:
    """Return key, microseconds before the capture, and a value; None for deletions."""
    return [
        (
            next(iter(found.values())),
            round((captured_at - found["valid_from"]) / timedelta(microseconds=1)),
            found[column] if found["_op"] == "upsert" else None,
        )
        for found in rows
    ]


def test_a_fact_gets_every_version_and_a_dimension_the_last(lake: Lake) -> None:
    writer = lake.writer
    made = lake.add(
        log={
            "sales_order": [
                writer.upsert("sales_order", ago(writer, 7), 3, units_sold=2),
                writer.upsert("sales_order", ago(writer, 7), 1, units_sold=1),
                writer.delete("sales_order", ago(writer, 0), 4, 1),
                writer.upsert("sales_order", ago(writer, 2), 2, units_sold=2),
            ],
            "payment_type": [
                writer.upsert("payment_type", ago(writer, 3), 4, payment_type_name="LAST"),
                writer.upsert("payment_type", ago(writer, 3), 1, payment_type_name="FIRST"),
            ],
        }
    )
    orders = lake.rows(made, "fact_sales_order")
    assert sorted(events(orders, "units_sold", made.captured_at), reverse=True) == [
        (1, 7, 2),
        (1, 2, 2),
        (1, 0, None),
    ]
    types = lake.rows(made, "dim_payment_type")
    assert events(types, "payment_type_name", made.captured_at) == [(1, 0, "LAST")]


def test_a_fact_that_does_not_select_at_gets_the_last_version(lake: Lake) -> None:
    writer = lake.writer
    columns = ("rate_id", "rate_date", "currency_code", "rate", "source", "carried_forward")
    values = dict.fromkeys(columns, "x") | {
        "rate_date": "2022-11-03",
        "rate": "1.5",
        "carried_forward": "false",
    }
    writer.columns["ecb_exchange_rate"] = list(columns)
    writer.keys["ecb_exchange_rate"] = ("rate_id",)
    log = [
        {"_op": "upsert", "_xid": "1", "_at": f"{ago(writer, n):%Y-%m-%dT%H:%M:%S.%fZ}", "_seq": 1}
        | values
        | {"source": f"{n}"}
        for n in (5, 3, 4)
    ]
    made = lake.add(log={"ecb_exchange_rate": log})
    rates = lake.rows(made, "fact_exchange_rate")
    assert events(rates, "source", made.captured_at) == [("x", 0, "3")]


def test_dimension_rows_that_came_and_went_in_a_batch_arrive(lake: Lake) -> None:
    """Also of a joined table, with the joined row of then; facts may have referred to them."""
    writer = lake.writer
    department = {"department_id": 5, "department_name": "Gone"}
    made = lake.add(
        log={
            "department": [
                writer.upsert("department", ago(writer, 9), 1, **department),
                writer.delete("department", ago(writer, 2), 7, 5),
            ],
            "staff": [
                writer.upsert("staff", ago(writer, 9), 2, staff_id=2, department_id=5),
                writer.upsert("staff", ago(writer, 9), 3, staff_id=3),
                writer.delete("staff", ago(writer, 5), 6, 2),
                writer.delete("staff", ago(writer, 5), 7, 3),
            ],
            "design": [
                writer.upsert("design", ago(writer, 9), 1, design_id=8, design_name="first"),
                writer.upsert("design", ago(writer, 8), 1, design_id=8, design_name="last"),
                writer.delete("design", ago(writer, 5), 6, 8),
                writer.upsert("design", ago(writer, 4), 1, design_id=9),  # never visible
                writer.delete("design", ago(writer, 4), 2, 9),
                writer.delete("design", ago(writer, 4), 3, 1),
            ],
        }
    )
    staff = lake.rows(made, "dim_staff")
    assert sorted(events(staff, "department_name", made.captured_at), key=repr) == [
        (2, 0, None),
        (2, 1, "Gone"),
        (3, 0, None),
        (3, 1, "Sales"),
    ]
    designs = lake.rows(made, "dim_design")
    assert sorted(events(designs, "design_name", made.captured_at), key=repr) == [
        (1, 0, None),
        (8, 0, None),
        (8, 1, "last"),
        (9, 0, None),
    ]
    made = lake.add({"department": [{**ALL["department"][0], "department_name": "New"}]})
    assert [found["staff_id"] for found in lake.rows(made, "dim_staff")] == [1]


@pytest.mark.parametrize(
    "change",
    [
        {"_at": "2026-11-22T10:00:01.000007Z"},
        {"_at": "2026-11-22T10:00:02.000008Z"},
        {"_at": None},
        {"_seq": None},
        {"_at": "2026-11-22T10:00:02.000003Z"},
    ],
    ids=["before the batch", "after it", "no moment", "no place", "two in one place"],
)
def test_a_line_without_a_place_in_the_batch_is_rejected(lake: Lake, change: Line) -> None:
    writer = lake.writer
    one = writer.upsert("design", ago(writer, 4), 1)
    writer.add(log={"design": [one, {**writer.upsert("design", ago(writer, 1), 1), **change}]})
    with pytest.raises(LakeError, match=r"^1 lines of table design in batch 2 of .* wrong _at or"):
        lake.transform()


def test_a_long_line_keeps_its_place(lake: Lake) -> None:
    """Only the columns that no model reads are removed from it."""
    writer = lake.writer
    writer.columns["design"].append("photo")
    lines = [
        writer.upsert("design", ago(writer, place), 1, design_name=f"{place}", photo="x" * 2**21)
        for place in (5, 3, 4)
    ]
    made = lake.add(log={"design": lines})
    assert [found["design_name"] for found in lake.rows(made, "dim_design")] == ["3"]


@pytest.mark.parametrize("name", ["_at", "_seq"])
def test_a_file_whose_first_line_lacks_a_field_is_rejected(lake: Lake, name: str) -> None:
    writer = lake.writer
    line = writer.delete("design", ago(writer, 4), 1, 1)
    del line[name]
    writer.add(log={"design": [line]})
    with pytest.raises(LakeError, match=f"differs from its manifest: its rows have no {name}"):
        lake.transform()
