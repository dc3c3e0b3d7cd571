"""The daily totals of a warehouse against its facts, summed up again row by row."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from totes.config.settings import Dsn
from totes.warehouse.daily import LINES

Row = dict[str, Any]
Totals = dict[tuple[Any, ...], tuple[Decimal, ...]]

ALIASES = {
    "fact_sales_order": {
        "day": "created_date",
        "staff_id": "sales_staff_id",
        "location_id": "agreed_delivery_location_id",
    },
    "fact_purchase_order": {"day": "created_date"},
    "fact_payment": {"day": "payment_date"},
}
"""Columns of the totals that the facts call otherwise."""


def assert_totals_equal_the_facts(warehouse: Dsn) -> None:
    with psycopg.connect(warehouse.reveal(), row_factory=dict_row) as connection:

        def rows(query: str) -> list[Row]:
            return connection.execute(query.encode()).fetchall()

        facts = {name: rows(f"SELECT * FROM {name} WHERE valid_to IS NULL") for name in ALIASES}
        _tell_staff(facts, rows("SELECT * FROM dim_transaction"))
        for payment in facts["fact_payment"]:
            payment["due_at_once"] = payment["payment_date"] == payment["created_date"]
        for lines in LINES:
            for daily in lines.dailies:
                found = rows(f"SELECT * FROM totes.{daily.name}")
                told = {
                    tuple(row[key] for key in daily.keys): tuple(row[name] for name in daily.sums)
                    for row in found
                }
                assert len(told) == len(found), daily.name
                among = [row for row in facts[lines.fact] if _belongs(row, daily.name)]
                assert told == _summed(lines.fact, among, daily.keys), daily.name


def _tell_staff(facts: dict[str, list[Row]], transactions: list[Row]) -> None:
    """Payments are of whoever made the order that they are for; None where it is not there."""
    sellers = {row["sales_order_id"]: row["sales_staff_id"] for row in facts["fact_sales_order"]}
    buyers = {row["purchase_order_id"]: row["staff_id"] for row in facts["fact_purchase_order"]}
    staff = {
        row["transaction_id"]: sellers.get(row["sales_order_id"])
        or buyers.get(row["purchase_order_id"])
        for row in transactions
    }
    for payment in facts["fact_payment"]:
        payment["staff_id"] = staff[payment["transaction_id"]]


def _belongs(row: Row, daily: str) -> bool:
    return "payments_by_staff" not in daily or row["staff_id"] is not None


def _summed(fact: str, rows: list[Row], keys: tuple[str, ...]) -> Totals:
    sums: dict[tuple[Any, ...], list[Decimal]] = defaultdict(list)
    for row in rows:
        key = tuple(row[ALIASES[fact].get(name, name)] for name in keys)
        added = list(_measures(row))
        before = sums[key] or [Decimal(0)] * len(added)
        sums[key] = [one + other for one, other in zip(before, added, strict=True)]
    return {key: tuple(values) for key, values in sums.items()}


def _measures(row: Row) -> Iterator[Decimal]:
    yield Decimal(1)
    if "payment_amount" in row:
        yield row["payment_amount"]
    elif "units_sold" in row:
        yield Decimal(row["units_sold"])
        yield row["units_sold"] * row["unit_price"]
    else:
        yield Decimal(row["item_quantity"])
        yield row["item_quantity"] * row["item_unit_price"]
