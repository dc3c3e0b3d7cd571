"""The rows of a simulated business, and the steps of its simulator."""

import json

import psycopg
from database import fetch_rows
from source_audit import TABLES

from conftest import Totesys
from totes.config.dsn import Dsn
from totes.demo.simulator import (
    Event,
    Simulator,
)

type Tables = dict[str, dict[int, object]]


def dump(dsn: Dsn) -> Tables:
    """Return every row of every table, by table and id; numbers as text."""
    return {
        table: {
            int(str(key)): json.loads(str(row), parse_float=str)
            for key, row in fetch_rows(
                dsn, f'SELECT {table}_id, row_to_json(t)::text FROM "{table}" AS t ORDER BY 1'
            )
        }
        for table in TABLES
    }


def steps(simulator: Simulator, number: int) -> list[Event]:
    return [simulator.step() for _ in range(number)]


DEAL = """
    CREATE TEMPORARY VIEW deal AS
    SELECT transaction_id, o.*, p.payment_amount, p.currency_id AS payment_currency,
           p.counterparty_id AS payment_counterparty, p.payment_date, p.payment_type_id,
           p.created_at AS payment_made
    FROM (
        SELECT true AS is_sale, sales_order_id, NULL::int AS purchase_order_id,
               created_at AS made, last_updated AS updated, units_sold * unit_price AS cost,
               currency_id, counterparty_id, agreed_payment_date AS due
        FROM sales_order
        UNION ALL
        SELECT false, NULL, purchase_order_id, created_at, last_updated,
               item_quantity * item_unit_price, currency_id, counterparty_id, agreed_payment_date
        FROM purchase_order
    ) AS o
    JOIN "transaction" t ON t.sales_order_id = o.sales_order_id
                         OR t.purchase_order_id = o.purchase_order_id
    JOIN payment p USING (transaction_id)
"""


def empty(totesys: Totesys) -> None:
    names = ", ".join(f'"{table}"' for table in TABLES)
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute(f"TRUNCATE {names} RESTART IDENTITY")
