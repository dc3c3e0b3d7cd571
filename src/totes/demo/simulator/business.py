"""Plans what the business does: the events of each day, and the rows they write. No I/O.

All values are drawn from the given `random.Random`, so the same seed gives the same events.
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
from totes.demo.simulator.reference import Row, timestamps


class Kind(StrEnum):
    """A kind of event. The live totesys has had only the first five; totesys allows all of them."""

    SALE = "sale"
    PURCHASE = "purchase"
    PAY = "pay"
    SILENT = "silent_columns"
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
    BRIEF = "brief"


type Mix = Mapping[Kind, float]
"""The average number of events of each kind per weekday, in steps of 0.25; PAY is always one."""

USUAL: Mix = {Kind.SALE: 25, Kind.PURCHASE: 10, Kind.SILENT: 2, Kind.DESIGN: 1}
"""The events of the live totesys."""

HOSTILE: Mix = {**{kind: 2 for kind in Kind if kind is not Kind.BRIEF}, **USUAL, Kind.PAY: 0}
"""All kinds of events, except BRIEF, whose first change a scan of the tables may not see."""


@dataclass(frozen=True)
class PlannedEvent:
    """An event that is due at a time of the business's clock."""

    at: datetime
    kind: Kind


@dataclass(frozen=True)
class OrderType:
    """The table, columns and sizes of sales orders or purchase orders."""

    kind: Kind
    table: str
    quantity_column: str
    price_column: str
    quantity_range: tuple[int, int]
    price_range_hundredths: tuple[int, int]
    transaction_type: str
    payment_type_id: int
    refund_type_id: int
    silent_columns: tuple[str, ...]
    """The columns that the live application changes without changing last_updated."""


SALE = OrderType(
    kind=Kind.SALE,
    table="sales_order",
    quantity_column="units_sold",
    price_column="unit_price",
    quantity_range=(1001, 99_973),
    price_range_hundredths=(200, 400),
    transaction_type="SALE",
    payment_type_id=1,
    refund_type_id=2,
    silent_columns=("staff_id", "design_id", "agreed_delivery_date", "agreed_delivery_location_id"),
)
PURCHASE = OrderType(
    kind=Kind.PURCHASE,
    table="purchase_order",
    quantity_column="item_quantity",
    price_column="item_unit_price",
    quantity_range=(1, 999),
    price_range_hundredths=(300, 100_000),
    transaction_type="PURCHASE",
    payment_type_id=3,
    refund_type_id=4,
    silent_columns=("staff_id", "item_code", "agreed_delivery_date", "agreed_delivery_location_id"),
)
ORDER_TYPES = (SALE, PURCHASE)


@dataclass(frozen=True)
class ReferenceIds:
    """The ids that a new row may refer to, in ascending order; currencies with their codes."""

    design: tuple[int, ...]
    staff: tuple[int, ...]
    counterparty: tuple[int, ...]
    address: tuple[int, ...]
    department: tuple[int, ...]
    currency: Mapping[int, str]


def is_weekday(day: date) -> bool:
    """Return whether the day is from Monday to Friday."""
    return day.isoweekday() < 6  # noqa: PLR2004  Saturday


def plan_events(random: Random, start: datetime, mix: Mix) -> Iterator[PlannedEvent]:
    """Yield the events after `start`, day by day, without end."""
    for day in (start.date() + timedelta(days=number) for number in count()):
        yield from (event for event in plan_day(random, day, mix) if event.at > start)


def plan_day(random: Random, day: date, mix: Mix) -> list[PlannedEvent]:
    """Return a weekday's events in order: payments at 07:55:11, the rest from 08:00 to 18:59."""
    if not is_weekday(day):
        return []
    paid_at = datetime.combine(day, time(7, 55, 11, random.randrange(1000) * 1000))
    opens_at = datetime.combine(day, time(8))
    open_ms = 11 * 3600 * 1000
    events = [
        PlannedEvent(opens_at + timedelta(milliseconds=random.randrange(open_ms)), kind)
        for kind, mean in mix.items()
        for _ in range(random.binomialvariate(round(mean * 4), 0.25))
    ]
    return [
        PlannedEvent(paid_at, Kind.PAY),
        *sorted(events, key=lambda event: (event.at, event.kind)),
    ]


def order(random: Random, order_type: OrderType, at: datetime, reference_ids: ReferenceIds) -> Row:
    """Return a row of an order, without its id."""
    common_columns = {
        **timestamps(at),
        "staff_id": random.choice(reference_ids.staff),
        "counterparty_id": random.choice(reference_ids.counterparty),
        order_type.quantity_column: quantity(random, order_type),
        order_type.price_column: price(random, order_type),
        "currency_id": random.choice(list(reference_ids.currency)),
        "agreed_delivery_date": _date_within_a_week(random, at),
        "agreed_payment_date": _date_within_a_week(random, at),
        "agreed_delivery_location_id": random.choice(reference_ids.address),
    }
    if order_type is SALE:
        return {**common_columns, "design_id": random.choice(reference_ids.design)}
    return {**common_columns, "item_code": item_code(random)}


def quantity(random: Random, order_type: OrderType) -> int:
    """Return the units of an order, within the range of its type."""
    return random.randint(*order_type.quantity_range)


def price(random: Random, order_type: OrderType) -> Decimal:
    """Return the price of one unit, in the order's currency."""
    return Decimal(random.randint(*order_type.price_range_hundredths)) / 100


def _date_within_a_week(random: Random, at: datetime) -> str:
    return str(at.date() + timedelta(days=random.randrange(7)))


def item_code(random: Random) -> str:
    """Return a code of seven characters; one in fifty has only digits."""
    characters = (
        "0123456789" if random.randrange(50) == 0 else "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    )
    return "".join(random.choices(characters, k=7))


def transaction(order_type: OrderType, at: datetime, order_id: int | None) -> Row:
    """Return the row of an order's transaction; of a refund if `order_id` is None."""
    return {
        "transaction_type": order_type.transaction_type,
        f"{order_type.table}_id": order_id,
        **timestamps(at),
    }


def payment(
    random: Random, order_type: OrderType, at: datetime, order: Row, transaction_id: int
) -> Row:
    """Return the row of an order's payment, due on its agreed_payment_date."""
    return {
        **timestamps(at),
        "transaction_id": transaction_id,
        "counterparty_id": order["counterparty_id"],
        "payment_amount": amount(order_type, order),
        "currency_id": order["currency_id"],
        "payment_type_id": order_type.payment_type_id,
        "paid": False,
        "payment_date": order["agreed_payment_date"],
        "company_ac_number": random.randint(10_000_000, 99_999_999),
        "counterparty_ac_number": random.randint(10_000_000, 99_999_999),
    }


def refund(order_type: OrderType, at: datetime, paid: Row, transaction_id: int) -> Row:
    """Return the row of a refund for the payment `paid`, due today."""
    return {
        **{name: value for name, value in paid.items() if name != "payment_id"},
        **timestamps(at),
        "transaction_id": transaction_id,
        "payment_type_id": order_type.refund_type_id,
        "paid": False,
        "payment_date": str(at.date()),
    }


def amount(order_type: OrderType, order: Row) -> Decimal:
    """Return quantity times price, in the order's currency."""
    return Decimal(order[order_type.quantity_column] * order[order_type.price_column])


def silent_change(
    random: Random, order_type: OrderType, order: Row, reference_ids: ReferenceIds
) -> Row:
    """Return new values for one or two of the columns that change without last_updated."""
    days = {str(order["created_at"].date() + timedelta(days=number)) for number in range(7)}
    choices: dict[str, set[Any]] = {
        "staff_id": set(reference_ids.staff),
        "design_id": set(reference_ids.design),
        "agreed_delivery_date": days,
        "agreed_delivery_location_id": set(reference_ids.address),
        "item_code": {item_code(random)},
    }
    columns = random.sample(order_type.silent_columns, random.randint(1, 2))
    return {column: choose_other(random, choices[column], order[column]) for column in columns}


def choose_other(random: Random, choices: set[Any], present: object) -> Any:
    """Return one of `choices` that is different from `present`."""
    return random.choice(sorted(choices - {present}, key=str))


def department_change(random: Random, department: Row) -> Row:
    """Return a new value for one column of a department."""
    return _change_one_column(
        random,
        department,
        {
            "location": {"Manchester", "Leeds", "Glasgow", "Kraków", None},
            "manager": {*words.FOREIGN_FIRST_NAMES, None},
            "department_name": {f"{name} & Co" for name, *_ in words.DEPARTMENTS},
        },
    )


def address_change(random: Random, address: Row) -> Row:
    """Return a new value for one column of an address."""
    return _change_one_column(
        random,
        address,
        {
            "city": {*words.CITIES, *words.FOREIGN_CITIES},
            "country": {*words.COUNTRIES, *words.FOREIGN_COUNTRIES},
            "address_line_2": {*words.LINES_2, None},
            "phone": {f"{random.randrange(10_000):04d} 000000", "+44 (0)161 496 0000"},
        },
    )


def _change_one_column(random: Random, row: Row, choices: Mapping[str, set[Any]]) -> Row:
    """Return a new value for one of the columns in `choices`."""
    column = random.choice(list(choices))
    return {column: choose_other(random, choices[column], row[column])}
