"""The events that `business` plans, written to the database: a function for each kind.

Each function returns the text of the event, or None if there was nothing to do.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from totes.demo.simulator import business, reference, words
from totes.demo.simulator.business import ORDER_TYPES, PURCHASE, SALE, Kind, OrderType, ReferenceIds
from totes.demo.simulator.filling import insert, script
from totes.demo.simulator.reference import Row

RECENT_ORDERS = 500
"""Only this many of the newest orders are changed."""


@dataclass
class Writer:
    """Writes rows in one database transaction, at a time of the business's clock."""

    connection: psycopg.Connection
    random: Random
    at: datetime
    reference_ids: ReferenceIds
    written_rows: dict[tuple[str, int], None] = field(default_factory=dict)
    """Table and id of the rows that were inserted, updated or deleted, in this order."""

    def insert(self, table: str, row: Row) -> int:
        """Insert a row and return its id."""
        key = insert(self.connection, table, row)
        self.written_rows[table, key] = None
        return key

    def update(self, table: str, key: int, row: Row) -> None:
        """Set the columns in `row` of the row with the id `key`."""
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in row
        )
        self._change(
            sql.SQL("UPDATE {table} SET {to} WHERE {id} = %s"), table, key, row, assignments
        )

    def delete(self, table: str, key: int) -> None:
        """Delete the row with the id `key`."""
        self._change(sql.SQL("DELETE FROM {table} WHERE {id} = %s"), table, key)

    def _change(
        self,
        statement: sql.SQL,
        table: str,
        key: int,
        row: Row | None = None,
        to: sql.Composable | None = None,
    ) -> None:
        composed = statement.format(
            table=sql.Identifier(table), id=sql.Identifier(f"{table}_id"), to=to
        )
        self.connection.execute(composed, [*(row or {}).values(), key])
        self.written_rows[table, key] = None

    def row(self, table: str, key: int) -> dict[str, Any]:
        """Return the row with this id, or the one with the next higher id."""
        query = sql.SQL("SELECT * FROM {table} WHERE {id} >= %s ORDER BY {id} LIMIT 1").format(
            table=sql.Identifier(table), id=sql.Identifier(f"{table}_id")
        )
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query, [key]).fetchone()
        assert row is not None  # noqa: S101  the id was read from the table
        return row

    def choose_recent_order(self, order_type: OrderType) -> dict[str, Any] | None:
        """Return one of the newest orders, or None if there are none."""
        query = sql.SQL("SELECT min({id}), max({id}) FROM {table}").format(
            table=sql.Identifier(order_type.table), id=sql.Identifier(f"{order_type.table}_id")
        )
        first, last = self.connection.execute(query).fetchone() or (None, None)
        if last is None:
            return None
        first_recent = max(first, last - RECENT_ORDERS + 1)
        return self.row(order_type.table, self.random.randint(first_recent, last))

    @contextmanager
    def savepoint(self, *, keep: bool) -> Iterator[None]:
        """Run the block in a savepoint, which is rolled back at its end unless `keep`."""
        before = dict(self.written_rows)
        with self.connection.transaction():
            yield
            if not keep:
                self.written_rows = before
                raise psycopg.Rollback


def _place_order(writer: Writer, order_type: OrderType) -> str:
    row = business.order(writer.random, order_type, writer.at, writer.reference_ids)
    order_id = writer.insert(order_type.table, row)
    transaction_id = writer.insert(
        "transaction", business.transaction(order_type, writer.at, order_id)
    )
    writer.insert(
        "payment", business.payment(writer.random, order_type, writer.at, row, transaction_id)
    )
    code = writer.reference_ids.currency[row["currency_id"]]
    quantity, price = row[order_type.quantity_column], row[order_type.price_column]
    return f"{order_type.kind} {order_id}: {quantity:,} at {price:.2f} {code}"


def sale(writer: Writer) -> str:
    """Insert a sales order with its transaction and payment."""
    return _place_order(writer, SALE)


def purchase(writer: Writer) -> str:
    """Insert a purchase order with its transaction and payment."""
    return _place_order(writer, PURCHASE)


def pay(writer: Writer) -> str | None:
    """Mark all payments due today as paid, in one statement and at the same millisecond."""
    paid = writer.connection.execute(script("pay"), {"at": writer.at}).fetchall()
    writer.written_rows.update({("payment", key): None for (key,) in paid})
    return f"{len(paid)} payments settled" if paid else None


def settle(writer: Writer) -> str | None:
    """Mark payments that `pay` has skipped as paid, some days late."""
    paid = writer.connection.execute(script("settle"), {"at": writer.at}).fetchall()
    writer.written_rows.update({("payment", key): None for (key,) in paid})
    return f"{len(paid)} late payments settled by hand" if paid else None


def silent(writer: Writer) -> str | None:
    """Change a row without its last_updated."""
    order_type = writer.random.choice([*ORDER_TYPES, None])
    if order_type is None:
        design = writer.row("design", writer.random.choice(writer.reference_ids.design))
        folder = business.choose_other(writer.random, set(words.FOLDERS), design["file_location"])
        writer.update("design", design["design_id"], {"file_location": folder})
        return f"design {design['design_id']} silently moved to {folder}"
    if (order := writer.choose_recent_order(order_type)) is None:
        return None
    order_id = order[f"{order_type.table}_id"]
    change = business.silent_change(writer.random, order_type, order, writer.reference_ids)
    writer.update(order_type.table, order_id, change)
    return f"{order_type.kind} {order_id}: silently changed {', '.join(change)}"


def brief(writer: Writer) -> tuple[str, int, Row] | None:
    """Change a sale like `silent`; return text, id and the values to change back to."""
    if (order := writer.choose_recent_order(SALE)) is None:
        return None
    order_id = order["sales_order_id"]
    change = business.silent_change(writer.random, SALE, order, writer.reference_ids)
    writer.update(SALE.table, order_id, change)
    before = {column: order[column] for column in change}
    return f"sale {order_id}: silently changed {', '.join(change)}", order_id, before


def design(writer: Writer) -> str:
    """Insert a design."""
    row = reference.design(writer.random, writer.at)
    return f"design {writer.insert('design', row)}: {row['file_name']}"


def correct(writer: Writer) -> str | None:
    """Change quantity and price of an order, and the amount of its payment."""
    order_type = writer.random.choice(ORDER_TYPES)
    if (rows := _order_with_payment(writer, order_type)) is None:
        return None
    order, payment = rows
    order_id = order[f"{order_type.table}_id"]
    quantity = business.quantity(writer.random, order_type)
    price = business.price(writer.random, order_type)
    change = {order_type.quantity_column: quantity, order_type.price_column: price}
    writer.update(order_type.table, order_id, {**change, "last_updated": writer.at})
    amount = business.amount(order_type, {**order, **change})
    writer.update(
        "payment",
        payment["payment_id"],
        {"payment_amount": amount, "last_updated": writer.at},
    )
    return f"{order_type.kind} {order_id} corrected: {quantity:,} at {price:.2f}"


def cancel(writer: Writer) -> str | None:
    """Delete an order, and either its unpaid payment and transaction, or insert a refund."""
    order_type = writer.random.choice(ORDER_TYPES)
    if (rows := _order_with_payment(writer, order_type)) is None:
        return None
    order, payment = rows
    order_id = order[f"{order_type.table}_id"]
    transaction_id = payment["transaction_id"]
    if payment["paid"]:
        refund_id = writer.insert("transaction", business.transaction(order_type, writer.at, None))
        writer.insert("payment", business.refund(order_type, writer.at, payment, refund_id))
        writer.delete(order_type.table, order_id)
        writer.written_rows["transaction", transaction_id] = None  # ON DELETE SET NULL
        return (
            f"{order_type.kind} {order_id} cancelled, {payment['payment_amount']:,} to be refunded"
        )
    writer.delete("payment", payment["payment_id"])
    writer.delete("transaction", transaction_id)
    writer.delete(order_type.table, order_id)
    return f"{order_type.kind} {order_id} cancelled"


def _order_with_payment(
    writer: Writer, order_type: OrderType
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return a recent order and its payment, or None if there is none."""
    if (order := writer.choose_recent_order(order_type)) is None:
        return None
    query = script("payment_of").format(order_id=sql.Identifier(f"{order_type.table}_id"))
    with writer.connection.cursor(row_factory=dict_row) as cursor:
        payment = cursor.execute(query, [order[f"{order_type.table}_id"]]).fetchone()
    return None if payment is None else (order, payment)


def currency(writer: Writer) -> str | None:
    """Insert a currency that the business hasn't used yet; None if it has used all."""
    new = set(words.NEW_CURRENCIES) - set(writer.reference_ids.currency.values())
    if not new:
        return None
    code = writer.random.choice(sorted(new))
    writer.insert("currency", reference.currency(code, writer.at))
    return f"currency {code}"


def counterparty(writer: Writer) -> str:
    """Insert a counterparty whose name and legal address are not ASCII."""
    legal_address = {
        **reference.address(writer.random, writer.at, writer.random.randrange(15)),
        "city": writer.random.choice(words.FOREIGN_CITIES),
        "country": writer.random.choice(words.FOREIGN_COUNTRIES),
    }
    name = writer.random.choice(words.FOREIGN_COMPANIES)
    address_id = writer.insert("address", legal_address)
    row = reference.counterparty(writer.random, writer.at, address_id)
    key = writer.insert("counterparty", {**row, "counterparty_legal_name": name})
    return f"counterparty {key}: {name}"


def staff(writer: Writer) -> str:
    """Insert a member of staff whose name is not ASCII."""
    first = writer.random.choice(words.FOREIGN_FIRST_NAMES)
    last = writer.random.choice(words.FOREIGN_LAST_NAMES)
    key = writer.insert("staff", reference.staff(first, last, writer.random, writer.at))
    return f"staff {key}: {first} {last}"


def transfer(writer: Writer) -> str:
    """Move a member of staff to another department."""
    staff_id = writer.random.choice(writer.reference_ids.staff)
    present = writer.row("staff", staff_id)["department_id"]
    department_id = business.choose_other(
        writer.random, set(writer.reference_ids.department), present
    )
    writer.update("staff", staff_id, {"department_id": department_id, "last_updated": writer.at})
    return f"staff {staff_id} moved to department {department_id}"


def department(writer: Writer) -> str:
    """Change the name, manager or location of a department."""
    key = writer.random.choice(writer.reference_ids.department)
    return _change_row(writer, "department", key, business.department_change)


def address(writer: Writer) -> str:
    """Change a column of an address."""
    key = writer.random.choice(writer.reference_ids.address)
    return _change_row(writer, "address", key, business.address_change)


def _change_row(writer: Writer, table: str, key: int, change: Callable[[Random, Row], Row]) -> str:
    changed = change(writer.random, writer.row(table, key))
    writer.update(table, key, {**changed, "last_updated": writer.at})
    return f"{table} {key}: {', '.join(f'{name} is {value}' for name, value in changed.items())}"


def retire(writer: Writer) -> str | None:
    """Delete the newest design that no order uses."""
    unused = writer.connection.execute(script("unused_design")).fetchone()
    if unused is None:
        return None
    writer.delete("design", unused[0])
    return f"design {unused[0]} retired"


def savepoint(writer: Writer) -> str:
    """Insert a sale and a purchase in savepoints, and roll back another purchase in between."""
    with writer.savepoint(keep=True):
        first = sale(writer)
    with writer.savepoint(keep=False):
        purchase(writer)
    with writer.savepoint(keep=True):
        return f"{first}; {purchase(writer)}"


ACTIONS: Mapping[Kind, Callable[[Writer], str | None]] = {
    Kind.SALE: sale,
    Kind.PURCHASE: purchase,
    Kind.PAY: pay,
    Kind.SILENT: silent,
    Kind.DESIGN: design,
    Kind.CORRECT: correct,
    Kind.CANCEL: cancel,
    Kind.CURRENCY: currency,
    Kind.COUNTERPARTY: counterparty,
    Kind.STAFF: staff,
    Kind.TRANSFER: transfer,
    Kind.DEPARTMENT: department,
    Kind.ADDRESS: address,
    Kind.RETIRE: retire,
    Kind.LATE: sale,
    Kind.SAVEPOINT: savepoint,
    Kind.ROLLBACK: purchase,
    Kind.SETTLE: settle,
}
