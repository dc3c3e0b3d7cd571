"""Texts for star columns, and an independent implementation of the values they have."""

import re
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from totes.star.contract import AMOUNT, BIGINT, BOOLEAN, DATE, INTEGER, MONEY, RATE, TIME, Type

Oracle = Callable[[str], Any]
"""Returns the value of a text as a Python object; None if the text must be rejected."""


def integer_value(bits: int) -> Oracle:
    def read(text: str) -> int | None:
        fits = re.fullmatch("0|-?[1-9][0-9]*", text) and -(1 << bits) <= int(text) * 2 < 1 << bits
        return int(text) if fits else None

    return read


def boolean_value(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def date_value(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if str(found) == text and 1900 <= found.year <= 2200 else None


def time_value(text: str) -> str | None:
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return None
    return text if found.tzinfo is None and postgres_time(found) == text else None


def postgres_time(value: time) -> str:
    whole, _, fraction = value.isoformat().partition(".")
    return f"{whole}.{fraction.rstrip('0')}" if fraction else whole


def decimal_value(digits: int, places: int = 2) -> Oracle:
    def read(text: str) -> Decimal | None:
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text):
            return None
        value = Decimal(text)
        negative_zero = value == 0 and text.startswith("-")
        exact = abs(value) < 10**digits and value == round(value, places)
        return value if exact and not negative_zero else None

    return read


def rate_value(text: str) -> Decimal | None:
    value = decimal_value(12, 6)(text)
    return value if value is not None and value > 0 else None


ORACLES: list[tuple[Type, Oracle]] = [
    (INTEGER, integer_value(32)),
    (BIGINT, integer_value(64)),
    (BOOLEAN, boolean_value),
    (DATE, date_value),
    (TIME, time_value),
    (MONEY, decimal_value(8)),
    (AMOUNT, decimal_value(16)),
    (RATE, rate_value),
]

canonical_texts = st.one_of(
    st.integers(-(2**33), 2**33).map(str),
    st.integers(-(2**64), 2**64).map(str),
    st.dates(date(1890, 1, 1), date(2210, 12, 31)).map(str),
    st.times().map(postgres_time),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(-(10**8) - 1, 10**8 + 1, places=2).map(str),
    st.decimals(-(10**16) - 1, 10**16 + 1, places=2).map(str),
    st.decimals(-1000, 1000, places=4).map(str),
    st.decimals(-(10**12) - 1, 10**12 + 1, places=6).map(str),
    st.booleans().map(lambda value: str(value).lower()),
)
arbitrary_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
altered_texts = st.builds(
    lambda text, at, new, cut: text[: at % (len(text) + 1)] + new + text[(at + cut) :],
    canonical_texts,
    st.integers(0, 30),
    st.one_of(arbitrary_texts, st.sampled_from([*" +-.0:e,_/T\n\t\x0b", "00", "٣", "e1", " BC"])),
    st.integers(0, 2),
)
EDGE_CASES = [
    *("", " ", "null", "NULL", "NaN", "nan", "inf", "Infinity", "-infinity", "infinity"),
    *(" 1", "1 ", "1\n", "+1", "-0", "00", "01", "1.", ".5", "-.5", "1e3", "1E3", "0x10", "1_000"),
    *("1,000", "٣", "１", "2147483648", "-2147483649", "9223372036854775808", "1.005", "-0.00"),  # noqa: RUF001  digits of other scripts
    *(
        "2.505",
        "100000000.00",
        "99999999.995",
        "0.0000001",
        "0.000001",
        "0.001",
        "--1",
        "1-",
        "$1",
        "1.00.00",
    ),
    *("TRUE", "t", "yes", "1", "on", "False", "true "),
    *("2023/02/03", "2023-2-3", "20230203", "2023-02-30", "2023-02-29", "1899-12-31", "2201-01-01"),
    *("0044-03-15 BC", "12023-01-01", "02023-01-01", "2023-02-03 ", "2023-02-03T00:00", "epoch"),
    *("24:00:00", "23:59:60", "1:02:03", "01:02", "01:02:03.", "01:02:03.100", "01:02:03.1234567"),
    *("01:02:03+00", "01:02:03Z", "01:02:03 PM", "01-02-03", "-01:02:03"),
]
