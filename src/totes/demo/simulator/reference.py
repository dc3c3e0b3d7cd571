"""Decides what the tables besides the orders hold at first. Pure: a seed's rows are its rows."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from totes.demo.simulator import words

type Row = Mapping[str, Any]
"""Columns and their values, as the driver takes and gives them."""

FOUNDED = datetime(2022, 11, 3, 14, 20, 49, 962_000)  # noqa: DTZ001  timestamp without time zone
"""When the live source's first rows were made."""

ADDRESSES, COUNTERPARTIES, STAFF, DESIGNS = 30, 20, 20, 100


def reference(random: Random) -> Iterator[tuple[str, list[Row]]]:
    """Table by table, in an order that foreign keys allow, the rows without their ids."""
    later = FOUNDED + timedelta(milliseconds=1601)
    yield "address", [address(random, FOUNDED, number) for number in range(ADDRESSES)]
    yield (
        "department",
        [
            {"department_name": name, "location": location, "manager": manager, **stamped(FOUNDED)}
            for name, location, manager in words.DEPARTMENTS
        ],
    )
    yield "currency", [currency(code, FOUNDED) for code in words.CURRENCIES]
    yield (
        "payment_type",
        [{"payment_type_name": name, **stamped(FOUNDED)} for name in words.PAYMENT_TYPES],
    )
    yield "design", [design(random, FOUNDED) for _ in range(DESIGNS)]
    yield (
        "counterparty",
        [counterparty(random, later, random.randint(1, ADDRESSES)) for _ in range(COUNTERPARTIES)],
    )
    yield (
        "staff",
        [
            staff(words.FIRST_NAMES[number], words.LAST_NAMES[number], random, later)
            for number in range(STAFF)
        ],
    )


def stamped(at: datetime) -> Row:
    """The two timestamps of a row that is inserted at this time."""
    return {"created_at": at, "last_updated": at}


def address(random: Random, at: datetime, number: int) -> Row:
    """A third of the addresses have a second line, a good half a district, as live ones."""
    return {
        "address_line_1": f"{random.randint(1, 84999):04d} {random.choice(words.STREETS)}",
        "address_line_2": random.choice(words.LINES_2) if number % 3 == 0 else None,
        "district": random.choice(words.DISTRICTS) if number % 15 < 8 else None,  # noqa: PLR2004
        "city": random.choice(words.CITIES),
        "postal_code": _postal_code(random, number),
        "country": random.choice(words.COUNTRIES),
        "phone": f"{random.randrange(10_000):04d} {random.randrange(1_000_000):06d}",
        **stamped(at),
    }


def _postal_code(random: Random, number: int) -> str:
    """Every other one with the four digits more; leading zeros are common."""
    code = f"{random.randrange(100_000):05d}"
    return code if number % 2 else f"{code}-{random.randrange(10_000):04d}"


def currency(code: str, at: datetime) -> Row:
    """A row of `currency` without its id."""
    return {"currency_code": code, **stamped(at)}


def design(random: Random, at: datetime) -> Row:
    """A row of `design` without its id."""
    material = random.choice(words.MATERIALS)
    drawn = date(2020, 11, 1) + timedelta(days=random.randrange(700))
    mark = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4))
    return {
        "design_name": material,
        "file_location": random.choice(words.FOLDERS),
        "file_name": f"{material.lower()}-{drawn:%Y%m%d}-{mark}.json",
        **stamped(at),
    }


def counterparty(random: Random, at: datetime, address_id: int) -> Row:
    """A row of `counterparty` without its id."""
    pattern = random.choice(words.COMPANIES)
    return {
        "counterparty_legal_name": pattern.format(*random.sample(words.LAST_NAMES, 3)),
        "legal_address_id": address_id,
        "commercial_contact": _person(random),
        "delivery_contact": _person(random),
        **stamped(at),
    }


def _person(random: Random) -> str:
    return f"{random.choice(words.FIRST_NAMES)} {random.choice(words.LAST_NAMES)}"


def staff(first: str, last: str, random: Random, at: datetime) -> Row:
    """A row of `staff` without its id."""
    return {
        "first_name": first,
        "last_name": last,
        "department_id": random.randint(1, len(words.DEPARTMENTS)),
        "email_address": f"{first}.{last}@terrifictotes.com".lower(),
        **stamped(at),
    }
