"""The first rows of the tables without orders. No I/O: the same seed gives the same rows."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from totes.demo.simulator import words

type Row = Mapping[str, Any]
"""Columns and their values, as psycopg binds and returns them."""

FIRST_ROW_AT = datetime(2022, 11, 3, 14, 20, 49, 962_000)  # noqa: DTZ001  timestamp without time zone
"""When the first rows of the live totesys were created."""

ADDRESSES, COUNTERPARTIES, STAFF, DESIGNS = 30, 20, 20, 100


def reference_rows(random: Random) -> Iterator[tuple[str, list[Row]]]:
    """Yield each table and its rows, without ids, in an order that foreign keys allow."""
    later = FIRST_ROW_AT + timedelta(milliseconds=1601)
    yield "address", [address(random, FIRST_ROW_AT, number) for number in range(ADDRESSES)]
    yield (
        "department",
        [
            {
                "department_name": name,
                "location": location,
                "manager": manager,
                **timestamps(FIRST_ROW_AT),
            }
            for name, location, manager in words.DEPARTMENTS
        ],
    )
    yield "currency", [currency(code, FIRST_ROW_AT) for code in words.CURRENCIES]
    yield (
        "payment_type",
        [{"payment_type_name": name, **timestamps(FIRST_ROW_AT)} for name in words.PAYMENT_TYPES],
    )
    yield "design", [design(random, FIRST_ROW_AT) for _ in range(DESIGNS)]
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


def timestamps(at: datetime) -> Row:
    """Return created_at and last_updated of a row that is inserted at this time."""
    return {"created_at": at, "last_updated": at}


def address(random: Random, at: datetime, number: int) -> Row:
    """Return a row of `address` without its id.

    As in the live totesys, a third have a second line, and just over half have a district.
    """
    return {
        "address_line_1": f"{random.randint(1, 84999):04d} {random.choice(words.STREETS)}",
        "address_line_2": random.choice(words.LINES_2) if number % 3 == 0 else None,
        "district": random.choice(words.DISTRICTS) if number % 15 < 8 else None,  # noqa: PLR2004
        "city": random.choice(words.CITIES),
        "postal_code": _postal_code(random, number),
        "country": random.choice(words.COUNTRIES),
        "phone": f"{random.randrange(10_000):04d} {random.randrange(1_000_000):06d}",
        **timestamps(at),
    }


def _postal_code(random: Random, number: int) -> str:
    """Return a code of five digits; every second one has four more. Leading zeros are common."""
    code = f"{random.randrange(100_000):05d}"
    return code if number % 2 else f"{code}-{random.randrange(10_000):04d}"


def currency(code: str, at: datetime) -> Row:
    """Return a row of `currency` without its id."""
    return {"currency_code": code, **timestamps(at)}


def design(random: Random, at: datetime) -> Row:
    """Return a row of `design` without its id."""
    material = random.choice(words.MATERIALS)
    design_date = date(2020, 11, 1) + timedelta(days=random.randrange(700))
    suffix = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=4))
    return {
        "design_name": material,
        "file_location": random.choice(words.FOLDERS),
        "file_name": f"{material.lower()}-{design_date:%Y%m%d}-{suffix}.json",
        **timestamps(at),
    }


def counterparty(random: Random, at: datetime, address_id: int) -> Row:
    """Return a row of `counterparty` without its id."""
    pattern = random.choice(words.COMPANIES)
    return {
        "counterparty_legal_name": pattern.format(*random.sample(words.LAST_NAMES, 3)),
        "legal_address_id": address_id,
        "commercial_contact": _person(random),
        "delivery_contact": _person(random),
        **timestamps(at),
    }


def _person(random: Random) -> str:
    return f"{random.choice(words.FIRST_NAMES)} {random.choice(words.LAST_NAMES)}"


def staff(first: str, last: str, random: Random, at: datetime) -> Row:
    """Return a row of `staff` without its id."""
    return {
        "first_name": first,
        "last_name": last,
        "department_id": random.randint(1, len(words.DEPARTMENTS)),
        "email_address": f"{first}.{last}@terrifictotes.com".lower(),
        **timestamps(at),
    }
