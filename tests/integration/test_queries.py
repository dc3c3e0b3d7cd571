"""The queries of docs/queries.md return the expected rows for a small business.

They run in the warehouse, and in Explore on the dashboard's replica of it.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from database import fetch_rows
from processed_lake import (
    DAY,
    ProcessedLake,
    counterparty,
    currency,
    day,
    design,
    location,
    moment,
    payment,
    payment_type,
    purchase,
    rate,
    sale,
    staff,
    transaction,
)
from replicas import replica_of
from statements import answer, open_engine

from conftest import EmptyWarehouse
from totes.dashboard.explore import worked
from totes.dashboard.explore.sandbox import result_of
from totes.stages.load import load

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(r"^## \d+\. (.+?)$.*?```sql\n(.+?);\n```", PAGE, re.DOTALL | re.MULTILINE)

LATER = date(2022, 12, 1)

ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "What do we sell, month by month?": [
        (2022, "November", "GBP", 2, Decimal(2600)),
        (2022, "December", "EUR", 1, Decimal(300)),
    ],
    "How did one order change?": [
        (moment(1), moment(11), "Jeremie O'Keefe", 500, Decimal("2.00"), DAY),
        (moment(11), None, "Deron O'Keefe", 600, Decimal("2.00"), DAY),
    ],
    "What were the totals at the end of a past day?": [
        ("EUR", 1, Decimal(300)),
        ("GBP", 3, Decimal(3000)),
    ],
    "Who owes us money, and since when?": [
        ("Fahey and Sons", DAY, (datetime.now(UTC).date() - DAY).days, Decimal(1400), "GBP"),
    ],
    "How much comes in, how much goes out?": [
        (2022, 11, "GBP", Decimal(1200), Decimal(150)),
        (2022, 12, "EUR", Decimal(0), Decimal(50)),
    ],
    "Which design sells best in each country?": [
        ("Peru", "Bronze", 100),
        ("Turkey", "Wooden", 700),
    ],
    "How many orders does each department make?": [
        ("Purchasing", 2, 1, 2),
        ("Sales", 1, 2, 0),
    ],
    "Which orders changed without a new `last_updated`?": [(1, moment(11), 1, 1, DAY, LATER)],
    "Which suppliers do we buy from?": [
        ("Yost, Watsica and Mann", "GBP", 1, Decimal(150)),
        ("Yost, Watsica and Mann", "EUR", 1, Decimal(50)),
    ],
    "What was deleted?": [(3, moment(11), Decimal(1200))],
    "What do we sell, all in pounds?": [
        (2022, "November", Decimal("2600.00"), 0),
        (2022, "December", Decimal("258.60"), 0),
    ],
}


@pytest.fixture
def business(warehouse: EmptyWarehouse, tmp_path: Path) -> EmptyWarehouse:
    """Batch 1 on the third of November before midnight, the last one on the fourth."""
    lake = ProcessedLake(tmp_path)
    first = sale(1, units_sold=600, unit_price=Decimal(2), currency_id=1)
    second = sale(2, units_sold=500, unit_price=Decimal(2), design_id=2)
    lake.publish(
        {
            "dim_date": [day(), day(LATER)],
            "dim_staff": [
                staff(1),
                staff(2, first_name="Deron", department_name="Sales"),
                staff(3, first_name="Oswaldo"),
            ],
            "dim_location": [location(), location(2, country="Peru")],
            "dim_currency": [currency(), currency(2, "EUR", "Euro")],
            "dim_design": [design(), design(2, design_name="Bronze")],
            "dim_counterparty": [counterparty(), counterparty(2, "Yost, Watsica and Mann")],
            "dim_payment_type": [
                payment_type(1, "SALES_RECEIPT"),
                payment_type(2, "SALES_REFUND"),
                payment_type(3, "PURCHASE_PAYMENT"),
            ],
            "dim_transaction": [
                transaction(1),
                transaction(2, sale=2),
                transaction(3, sale=None, purchase=1),
                transaction(4, sale=None, purchase=2),
                transaction(5, sale=3),
            ],
            "fact_sales_order": [
                {**first, "units_sold": 400, "agreed_delivery_date": DAY},
                second,
                sale(3, units_sold=600, unit_price=Decimal(2)),
                sale(
                    4,
                    units_sold=100,
                    unit_price=Decimal(3),
                    currency_id=2,
                    design_id=2,
                    sales_staff_id=2,
                    created_date=LATER,
                    agreed_delivery_location_id=2,
                ),
            ],
            "fact_purchase_order": [
                purchase(1, item_quantity=100, item_unit_price=Decimal("1.5"), counterparty_id=2),
                purchase(
                    2,
                    staff_id=3,
                    item_quantity=10,
                    item_unit_price=Decimal(5),
                    counterparty_id=2,
                    currency_id=2,
                ),
            ],
            "fact_payment": [
                payment(1, payment_amount=Decimal(1200)),
                payment(2, transaction_id=2, payment_amount=Decimal(1400)),
                payment(
                    3,
                    transaction_id=3,
                    payment_type_id=3,
                    counterparty_id=2,
                    payment_amount=Decimal(150),
                    paid=True,
                ),
                payment(
                    4,
                    transaction_id=4,
                    payment_type_id=3,
                    counterparty_id=2,
                    payment_amount=Decimal(50),
                    currency_id=2,
                    payment_date=LATER,
                    paid=True,
                ),
                payment(5, transaction_id=5, payment_type_id=2, payment_amount=Decimal(1)),
            ],
            "fact_exchange_rate": [
                rate(DAY, "GBP", "0.87228"),
                rate(DAY, "EUR", "1"),
                rate(LATER, "GBP", "0.862"),
                rate(LATER, "EUR", "1"),
            ],
        }
    )
    while lake.batches < 10:
        lake.publish()
    lake.publish(
        {
            "fact_sales_order": [
                {**first, "units_sold": 700, "agreed_delivery_date": LATER},
                {**second, "units_sold": 600, "sales_staff_id": 2, "last_updated_date": LATER},
            ],
            "fact_payment": [payment(1, payment_amount=Decimal(1200), paid=True)],
        },
        deletes={"fact_sales_order": [3]},
    )
    assert len(list(load(lake.store, warehouse.dsn))) == 11
    return warehouse


def test_the_page_has_eleven_questions_and_each_has_an_expected_result() -> None:
    assert [title for title, _ in QUESTIONS] == list(ANSWERS)
    assert len(QUESTIONS) == 11


def test_every_query_of_the_page_returns_the_expected_result(business: EmptyWarehouse) -> None:
    for title, query in QUESTIONS:
        assert fetch_rows(business.reader, query) == ANSWERS[title], title


def test_explore_offers_the_questions_of_the_page() -> None:
    assert [(one.title, one.sql) for one in worked.questions()] == QUESTIONS


def test_every_query_of_the_page_returns_the_same_in_explore(
    business: EmptyWarehouse, tmp_path: Path
) -> None:
    with open_engine(replica_of(business.reader), tmp_path) as engine:
        for title, query in QUESTIONS:
            rows = result_of(answer(engine, query)).rows
            found = [
                tuple(None if pd.isna(value) else value for value in row.values())
                for row in rows.to_dict("records")
            ]
            assert found == ANSWERS[title], title
