"""The totals of quarantined rows judge the fields of a row as the contract does."""

import json
from collections.abc import Iterator
from datetime import date
from importlib.resources import files

import duckdb
import pytest
from star_texts import EDGE_CASES

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.reading import Reading
from totes.dashboard.replica import State
from totes.dashboard.replica.tables import TABLES
from totes.star.contract import BIGINT, DATE, INTEGER, Type

LONG_KEY, LONGER_KEY = 2**31 - 1, 2**63 - 1
"""The largest keys, in columns of 32 and of 64 bits."""

PAYMENT = {
    "created_date": "2022-11-03",
    "payment_date": "2022-11-03",
    "transaction_id": str(LONGER_KEY),
    "counterparty_id": str(LONG_KEY),
    "payment_amount": "10.00",
    "currency_id": str(LONG_KEY),
    "payment_type_id": str(LONG_KEY),
    "paid": "false",
}


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty replica, with dimension rows of the longest keys."""
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        for table in TABLES.values():
            opened.execute(table.create)
        opened.execute(
            "INSERT INTO dim_currency (currency_id, currency_code)"
            f" VALUES ({LONG_KEY}, 'GBP'), (2, 'USD');"
            "INSERT INTO dim_payment_type (payment_type_id, payment_type_name)"
            f" VALUES ({LONG_KEY}, 'SALES_RECEIPT');"
            f"INSERT INTO dim_staff (staff_id, department_name) VALUES ({LONG_KEY}, 'Sales');"
            "INSERT INTO dim_transaction (transaction_id, sales_order_id)"
            f" VALUES ({LONGER_KEY}, {LONGER_KEY});"
            "INSERT INTO fact_sales_order (sales_order_id, sales_staff_id, valid_from)"
            f" VALUES ({LONGER_KEY}, {LONG_KEY}, '2022-11-03')"
        )
        yield opened


@pytest.mark.parametrize(
    ("changed", "belongs"),
    [
        ({}, True),
        ({"currency_id": "2"}, False),
        ({"currency_id": str(LONG_KEY + 1)}, None),
        ({"counterparty_id": "007"}, None),
        ({"transaction_id": str(LONGER_KEY + 1)}, None),
        ({"payment_type_id": "-0"}, None),
        ({"payment_date": "2022-02-30"}, True),  # whenever it is due, it is a debt
    ],
)
def test_a_row_belongs_to_a_total_if_its_fields_are_valid_and_selected(
    engine: duckdb.DuckDBPyConnection,
    changed: dict[str, str],
    belongs: bool | None,  # noqa: FBT001
) -> None:
    engine.execute(
        "INSERT INTO quarantine (star_table, key, row, valid_from)"
        " VALUES ('fact_payment', '1', ?, '2022-11-03')",
        [json.dumps(PAYMENT | changed)],
    )
    moment = engine.execute("SELECT timestamptz '2022-11-03'").fetchall()[0][0]
    reading = Reading(engine, State("", "", 1, moment, moment, moment, moment, {}, 0))
    criteria = Filter(
        *ALL_DAYS, departments=("Sales",), counterparties=(LONG_KEY,), currencies=("GBP",)
    )
    found = reading.run(
        "quarantined_totals", criteria, fact="fact_payment", today=date(2022, 11, 4)
    ).set_index("total")
    expected = {True: (1, 0), False: (0, 0), None: (0, 1)}[belongs]
    assert tuple(found.loc["receivable", ["rows", "uncertain"]]) == expected


@pytest.mark.parametrize(
    ("macro", "type_"),
    [("accepted_integer", INTEGER), ("accepted_bigint", BIGINT), ("accepted_date", DATE)],
)
def test_a_field_is_accepted_as_the_contract_accepts_it(
    engine: duckdb.DuckDBPyConnection, macro: str, type_: Type
) -> None:
    engine.execute((files("totes.dashboard") / "views.sql").read_text(encoding="utf-8"))
    value = f"({type_.cast.format(text='text')})"
    accepted = type_.canonical.format(text="text", value=value)
    texts = [*EDGE_CASES, "1900-01-01", "1899-12-31", "2200-12-31", "2201-01-01", "2024-02-30"]
    found = engine.execute(
        f"SELECT text, {macro}(text), CASE WHEN {accepted} THEN {value} END"
        " FROM (SELECT unnest($1::varchar[]) AS text)",
        [texts],
    ).fetchall()
    assert [row for row in found if row[1] != row[2]] == []
    assert {row[1] is None for row in found} == {True, False}
