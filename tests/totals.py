"""The daily totals of a warehouse against its facts, summed up again row by row."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import dict_row

from totes.settings import Dsn
from totes.warehouse.daily import DAILIES

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
        for fact, dailies in DAILIES.items():
            rows = connection.execute(
                f"SELECT * FROM {fact} WHERE valid_to IS NULL".encode()
            ).fetchall()
            for daily in dailies:
                found = connection.execute(f"SELECT * FROM totes.{daily.name}".encode()).fetchall()
                told = {
                    tuple(row[key] for key in daily.keys): tuple(row[name] for name in daily.sums)
                    for row in found
                }
                assert len(told) == len(found), daily.name
                assert told == _summed(fact, rows, daily.keys), daily.name


def _summed(fact: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> Totals:
    sums: dict[tuple[Any, ...], list[Decimal]] = defaultdict(list)
    for row in rows:
        key = tuple(row[ALIASES[fact].get(name, name)] for name in keys)
        added = list(_measures(row))
        before = sums[key] or [Decimal(0)] * len(added)
        sums[key] = [one + other for one, other in zip(before, added, strict=True)]
    return {key: tuple(values) for key, values in sums.items()}


def _measures(row: dict[str, Any]) -> Iterator[Decimal]:
    yield Decimal(1)
    if "payment_amount" in row:
        yield row["payment_amount"]
    elif "units_sold" in row:
        yield Decimal(row["units_sold"])
        yield row["units_sold"] * row["unit_price"]
    else:
        yield Decimal(row["item_quantity"])
        yield row["item_quantity"] * row["item_unit_price"]
