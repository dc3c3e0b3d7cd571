"""Decides what the business does: which events a day has, and the rows they write. Pure.

Everything is drawn from the `random.Random` that is handed in, so a seed is a history.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import count
from random import Random
from typing import Any

from totes.demo.simulator import words
from totes.demo.simulator.reference import Row, stamped


class Kind(StrEnum):
    """What may happen. The live source has seen the first five only; all of it is legal."""

    SALE = "sale"
    PURCHASE = "purchase"
    PAY = "pay"
    SILENT = "silent"
    DESIGN = "design"

    CORRECT = "correct"
    CANCEL = "cancel"
    CURRENCY = "currency"
    COUNTERPARTY = "counterparty"
    STAFF = "staff"
    TRANSFER = "transfer"
    DEPARTMENT = "department"
    ADDRESS = "address"
    RETIRE = "retire"
    LATE = "late"
    SAVEPOINT = "savepoint"
    ROLLBACK = "rollback"
    SETTLE = "settle"


type Mix = Mapping[Kind, float]
"""How often each kind happens on a weekday, on average, in quarters. PAY is always once."""

USUAL: Mix = {Kind.SALE: 25, Kind.PURCHASE: 10, Kind.SILENT: 2, Kind.DESIGN: 1}
"""As the live source behaves."""

HOSTILE: Mix = {**dict.fromkeys(Kind, 2), **USUAL, Kind.PAY: 0}
"""Everything that is legal besides."""


@dataclass(frozen=True)
class Planned:
    """An event that is due at a time of the business's clock."""

    at: datetime
    kind: Kind


@dataclass(frozen=True)
class Deal:
    """The two sides of the business, which differ in names and sizes only."""

    kind: Kind
    order: str
    quantity: str
    price: str
    quantities: tuple[int, int]
    prices: tuple[int, int]
    transaction_type: str
    payment_type: int
    refund_type: int
    silent: tuple[str, ...]
    """The columns that the live application changes without moving last_updated."""


SALE = Deal(
    kind=Kind.SALE,
    order="sales_order",
    quantity="units_sold",
    price="unit_price",
    quantities=(1001, 99_973),
    prices=(200, 400),
    transaction_type="SALE",
    payment_type=1,
    refund_type=2,
    silent=("staff_id", "design_id", "agreed_delivery_date", "agreed_delivery_location_id"),
)
PURCHASE = Deal(
    kind=Kind.PURCHASE,
    order="purchase_order",
    quantity="item_quantity",
    price="item_unit_price",
    quantities=(1, 999),
    prices=(300, 100_000),
    transaction_type="PURCHASE",
    payment_type=3,
    refund_type=4,
    silent=("staff_id", "item_code", "agreed_delivery_date", "agreed_delivery_location_id"),
)
DEALS = (SALE, PURCHASE)


@dataclass(frozen=True)
class Known:
    """The ids an order may refer to, in order; currencies with their codes."""

    design: tuple[int, ...]
    staff: tuple[int, ...]
    counterparty: tuple[int, ...]
    address: tuple[int, ...]
    department: tuple[int, ...]
    currency: Mapping[int, str]


def history(random: Random, start: datetime, mix: Mix) -> Iterator[Planned]:
    """What happens after `start`, day by day, without end."""
    for day in (start.date() + timedelta(days=number) for number in count()):
        yield from (planned for planned in plan(random, day, mix) if planned.at > start)


def plan(random: Random, day: date, mix: Mix) -> list[Planned]:
    """A weekday's events in order of time: the payments at 07:55:11, the rest 08:00 to 18:59."""
    if day.isoweekday() > 5:  # noqa: PLR2004  Saturday and Sunday
        return []
    payments = datetime.combine(day, time(7, 55, 11, random.randrange(1000) * 1000))
    opening = datetime.combine(day, time(8))
    office_ms = 11 * 3600 * 1000
    events = [
        Planned(opening + timedelta(milliseconds=random.randrange(office_ms)), kind)
        for kind, mean in mix.items()
        for _ in range(random.binomialvariate(round(mean * 4), 0.25))
    ]
    return [Planned(payments, Kind.PAY), *sorted(events, key=lambda event: (event.at, event.kind))]


def order(random: Random, deal: Deal, at: datetime, known: Known) -> Row:
    """A new order: its row without the id."""
    shared = {
        **stamped(at),
        "staff_id": random.choice(known.staff),
        "counterparty_id": random.choice(known.counterparty),
        deal.quantity: quantity(random, deal),
        deal.price: price(random, deal),
        "currency_id": random.choice(list(known.currency)),
        "agreed_delivery_date": _soon(random, at),
        "agreed_payment_date": _soon(random, at),
        "agreed_delivery_location_id": random.choice(known.address),
    }
    if deal is SALE:
        return {**shared, "design_id": random.choice(known.design)}
    return {**shared, "item_code": item_code(random)}


def quantity(random: Random, deal: Deal) -> int:
    """Units of an order, within the range of its kind."""
    return random.randint(*deal.quantities)


def price(random: Random, deal: Deal) -> Decimal:
    """Price of one unit, in the order's currency."""
    return Decimal(random.randint(*deal.prices)) / 100


def _soon(random: Random, at: datetime) -> str:
    return str(at.date() + timedelta(days=random.randrange(7)))


def item_code(random: Random) -> str:
    """Seven signs; one code in fifty is all digits."""
    signs = "0123456789" if random.randrange(50) == 0 else "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(random.choices(signs, k=7))


def transaction(deal: Deal, at: datetime, order_id: int | None) -> Row:
    """The transaction of an order; without one (`order_id` None) that of a refund."""
    return {"transaction_type": deal.transaction_type, f"{deal.order}_id": order_id, **stamped(at)}


def payment(random: Random, deal: Deal, at: datetime, order: Row, transaction_id: int) -> Row:
    """What an order costs, due on its agreed_payment_date, in its currency."""
    return {
        **stamped(at),
        "transaction_id": transaction_id,
        "counterparty_id": order["counterparty_id"],
        "payment_amount": amount(deal, order),
        "currency_id": order["currency_id"],
        "payment_type_id": deal.payment_type,
        "paid": False,
        "payment_date": order["agreed_payment_date"],
        "company_ac_number": random.randint(10_000_000, 99_999_999),
        "counterparty_ac_number": random.randint(10_000_000, 99_999_999),
    }


def refund(deal: Deal, at: datetime, paid: Row, transaction_id: int) -> Row:
    """The payment `paid` once more, the other way and due today."""
    return {
        **{name: value for name, value in paid.items() if name != "payment_id"},
        **stamped(at),
        "transaction_id": transaction_id,
        "payment_type_id": deal.refund_type,
        "paid": False,
        "payment_date": str(at.date()),
    }


def amount(deal: Deal, order: Row) -> Decimal:
    """Quantity times price, in the order's currency."""
    return Decimal(order[deal.quantity] * order[deal.price])


def silent_change(random: Random, deal: Deal, order: Row, known: Known) -> Row:
    """New values for one or two of the columns that change without a trace."""
    days = {str(order["created_at"].date() + timedelta(days=number)) for number in range(7)}
    choices: dict[str, set[Any]] = {
        "staff_id": set(known.staff),
        "design_id": set(known.design),
        "agreed_delivery_date": days,
        "agreed_delivery_location_id": set(known.address),
        "item_code": {item_code(random)},
    }
    columns = random.sample(deal.silent, random.randint(1, 2))
    return {column: other(random, choices[column], order[column]) for column in columns}


def other(random: Random, choices: set[Any], present: object) -> Any:
    """One of `choices`, not the `present` one."""
    return random.choice(sorted(choices - {present}, key=str))


def department_change(random: Random, department: Row) -> Row:
    """The column of a department that changes, with its new value."""
    return _one_of(
        random,
        department,
        {
            "location": {"Manchester", "Leeds", "Glasgow", "Kraków", None},
            "manager": {*words.FOREIGN_FIRST_NAMES, None},
            "department_name": {f"{name} & Co" for name, *_ in words.DEPARTMENTS},
        },
    )


def address_change(random: Random, address: Row) -> Row:
    """The column of an address that changes, with its new value."""
    return _one_of(
        random,
        address,
        {
            "city": {*words.CITIES, *words.FOREIGN_CITIES},
            "country": {*words.COUNTRIES, *words.FOREIGN_COUNTRIES},
            "address_line_2": {*words.LINES_2, None},
            "phone": {f"{random.randrange(10_000):04d} 000000", "+44 (0)161 496 0000"},
        },
    )


def _one_of(random: Random, row: Row, choices: Mapping[str, set[Any]]) -> Row:
    """Another value for one of the columns in `choices`."""
    column = random.choice(list(choices))
    return {column: other(random, choices[column], row[column])}
