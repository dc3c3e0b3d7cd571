"""Does what `business` decides: one function for each kind of event, inside a transaction.

An action gives the line that tells of it, or None where there was nothing to do.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from random import Random
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from totes.demo.simulator import business, reference, words
from totes.demo.simulator.business import DEALS, PURCHASE, SALE, Deal, Kind, Known
from totes.demo.simulator.filling import insert
from totes.demo.simulator.reference import Row

RECENT = 500
"""How far back, in ids, an order is likely to be touched again."""


@dataclass
class Work:
    """A transaction at work: whose it is, when it happens, and the rows it has touched."""

    connection: psycopg.Connection
    random: Random
    at: datetime
    known: Known
    touched: dict[tuple[str, int], None] = field(default_factory=dict)
    """Table and id, in the order of touching."""

    def insert(self, table: str, row: Row) -> int:
        """Insert a row and return its id."""
        key = insert(self.connection, table, row)
        self.touched[table, key] = None
        return key

    def update(self, table: str, key: int, row: Row) -> None:
        """Set the given columns of one row."""
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in row
        )
        self._change(
            sql.SQL("UPDATE {table} SET {to} WHERE {id} = %s"), table, key, row, assignments
        )

    def delete(self, table: str, key: int) -> None:
        """Delete one row."""
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
        self.touched[table, key] = None

    def row(self, table: str, key: int) -> dict[str, Any]:
        """The row with this id, or the first after it."""
        query = sql.SQL("SELECT * FROM {table} WHERE {id} >= %s ORDER BY {id} LIMIT 1").format(
            table=sql.Identifier(table), id=sql.Identifier(f"{table}_id")
        )
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query, [key]).fetchone()
        assert row is not None  # noqa: S101  ids come from the database
        return row

    def recent(self, deal: Deal) -> dict[str, Any] | None:
        """One of the newest orders, if there are any."""
        query = sql.SQL("SELECT min({id}), max({id}) FROM {table}").format(
            table=sql.Identifier(deal.order), id=sql.Identifier(f"{deal.order}_id")
        )
        first, last = self.connection.execute(query).fetchone() or (None, None)
        if last is None:
            return None
        return self.row(deal.order, self.random.randint(max(first, last - RECENT + 1), last))

    @contextmanager
    def savepoint(self, *, keep: bool) -> Iterator[None]:
        """Run in a savepoint; with `keep` false it is rolled back at the end."""
        before = dict(self.touched)
        with self.connection.transaction():
            yield
            if not keep:
                self.touched = before
                raise psycopg.Rollback


def script(name: str) -> sql.SQL:
    """The statement in the file of this name, beside this module."""
    return sql.SQL((files("totes.demo.simulator") / f"{name}.sql").read_text(encoding="utf-8"))


def _deal(work: Work, deal: Deal) -> str:
    row = business.order(work.random, deal, work.at, work.known)
    order_id = work.insert(deal.order, row)
    transaction_id = work.insert("transaction", business.transaction(deal, work.at, order_id))
    work.insert("payment", business.payment(work.random, deal, work.at, row, transaction_id))
    code = work.known.currency[row["currency_id"]]
    return f"{deal.kind} {order_id}: {row[deal.quantity]:,} at {row[deal.price]:.2f} {code}"


def sale(work: Work) -> str:
    """A sales order with its transaction and payment."""
    return _deal(work, SALE)


def purchase(work: Work) -> str:
    """A purchase order with its transaction and payment."""
    return _deal(work, PURCHASE)


def pay(work: Work) -> str | None:
    """All that is due today, in one statement and one millisecond."""
    paid = work.connection.execute(script("pay"), {"at": work.at}).fetchall()
    work.touched.update({("payment", key): None for (key,) in paid})
    return f"{len(paid)} payments settled" if paid else None


def settle(work: Work) -> str | None:
    """What `pay` has left behind, by hand and some days late."""
    paid = work.connection.execute(script("settle"), {"at": work.at}).fetchall()
    work.touched.update({("payment", key): None for (key,) in paid})
    return f"{len(paid)} late payments settled by hand" if paid else None


def silent(work: Work) -> str | None:
    """One row changed without its last_updated."""
    deal = work.random.choice([*DEALS, None])
    if deal is None:
        design = work.row("design", work.random.choice(work.known.design))
        folder = business.other(work.random, set(words.FOLDERS), design["file_location"])
        work.update("design", design["design_id"], {"file_location": folder})
        return f"design {design['design_id']} silently moved to {folder}"
    if (order := work.recent(deal)) is None:
        return None
    order_id = order[f"{deal.order}_id"]
    change = business.silent_change(work.random, deal, order, work.known)
    work.update(deal.order, order_id, change)
    return f"{deal.kind} {order_id}: silently changed {', '.join(change)}"


def design(work: Work) -> str:
    """A new design."""
    row = reference.design(work.random, work.at)
    return f"design {work.insert('design', row)}: {row['file_name']}"


def correct(work: Work) -> str | None:
    """Another quantity and price, and the payment's amount with them."""
    deal = work.random.choice(DEALS)
    if (found := _with_payment(work, deal)) is None:
        return None
    order, payment = found
    order_id = order[f"{deal.order}_id"]
    change = {
        deal.quantity: business.quantity(work.random, deal),
        deal.price: business.price(work.random, deal),
    }
    work.update(deal.order, order_id, {**change, "last_updated": work.at})
    amount = business.amount(deal, {**order, **change})
    work.update(
        "payment",
        payment["payment_id"],
        {"payment_amount": amount, "last_updated": work.at},
    )
    return (
        f"{deal.kind} {order_id} corrected: {change[deal.quantity]:,} at {change[deal.price]:.2f}"
    )


def cancel(work: Work) -> str | None:
    """Delete an order: with its payment and transaction, or, once paid, against a refund."""
    deal = work.random.choice(DEALS)
    if (found := _with_payment(work, deal)) is None:
        return None
    order, payment = found
    order_id = order[f"{deal.order}_id"]
    transaction_id = payment["transaction_id"]
    if payment["paid"]:
        back = work.insert("transaction", business.transaction(deal, work.at, None))
        work.insert("payment", business.refund(deal, work.at, payment, back))
        work.delete(deal.order, order_id)
        work.touched["transaction", transaction_id] = None  # ON DELETE SET NULL
        return f"{deal.kind} {order_id} cancelled, {payment['payment_amount']:,} to be refunded"
    work.delete("payment", payment["payment_id"])
    work.delete("transaction", transaction_id)
    work.delete(deal.order, order_id)
    return f"{deal.kind} {order_id} cancelled"


def _with_payment(work: Work, deal: Deal) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A recent order and its payment."""
    if (order := work.recent(deal)) is None:
        return None
    query = script("payment_of").format(order_id=sql.Identifier(f"{deal.order}_id"))
    with work.connection.cursor(row_factory=dict_row) as cursor:
        payment = cursor.execute(query, [order[f"{deal.order}_id"]]).fetchone()
    return None if payment is None else (order, payment)


def currency(work: Work) -> str | None:
    """A currency that the business hasn't used yet; None if there is no other."""
    new = set(words.NEW_CURRENCIES) - set(work.known.currency.values())
    if not new:
        return None
    code = work.random.choice(sorted(new))
    work.insert("currency", reference.currency(code, work.at))
    return f"currency {code}"


def counterparty(work: Work) -> str:
    """One whose name and legal address are far from ASCII."""
    place = {
        **reference.address(work.random, work.at, work.random.randrange(15)),
        "city": work.random.choice(words.FOREIGN_CITIES),
        "country": work.random.choice(words.FOREIGN_COUNTRIES),
    }
    name = work.random.choice(words.FOREIGN_COMPANIES)
    address_id = work.insert("address", place)
    row = reference.counterparty(work.random, work.at, address_id)
    key = work.insert("counterparty", {**row, "counterparty_legal_name": name})
    return f"counterparty {key}: {name}"


def staff(work: Work) -> str:
    """A new member of staff, with a name that isn't ASCII."""
    first = work.random.choice(words.FOREIGN_FIRST_NAMES)
    last = work.random.choice(words.FOREIGN_LAST_NAMES)
    key = work.insert("staff", reference.staff(first, last, work.random, work.at))
    return f"staff {key}: {first} {last}"


def transfer(work: Work) -> str:
    """A member of staff moves to another department."""
    staff_id = work.random.choice(work.known.staff)
    present = work.row("staff", staff_id)["department_id"]
    department_id = business.other(work.random, set(work.known.department), present)
    work.update("staff", staff_id, {"department_id": department_id, "last_updated": work.at})
    return f"staff {staff_id} goes to department {department_id}"


def department(work: Work) -> str:
    """A department gets another name, manager or location."""
    key = work.random.choice(work.known.department)
    return _reform(work, "department", key, business.department_change)


def address(work: Work) -> str:
    """An address is corrected."""
    key = work.random.choice(work.known.address)
    return _reform(work, "address", key, business.address_change)


def _reform(work: Work, table: str, key: int, change: Callable[[Random, Row], Row]) -> str:
    changed = change(work.random, work.row(table, key))
    work.update(table, key, {**changed, "last_updated": work.at})
    return f"{table} {key}: {', '.join(f'{name} is {value}' for name, value in changed.items())}"


def retire(work: Work) -> str | None:
    """Delete the newest design that no order uses."""
    unused = work.connection.execute(script("unused_design")).fetchone()
    if unused is None:
        return None
    work.delete("design", unused[0])
    return f"design {unused[0]} retired"


def savepoint(work: Work) -> str:
    """Two deals stay, one was taken back between them."""
    with work.savepoint(keep=True):
        first = sale(work)
    with work.savepoint(keep=False):
        purchase(work)
    with work.savepoint(keep=True):
        return f"{first}; {purchase(work)}"


ACTIONS: Mapping[Kind, Callable[[Work], str | None]] = {
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
