"""What the contract takes is exactly what was written, and everything else is refused."""

import re
from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from importlib.resources import files
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from totes.star.contract import (
    AMOUNT,
    BOOLEAN,
    DATE,
    INTEGER,
    MONEY,
    STARS,
    TIME,
    VARCHAR,
    Column,
    Type,
)

ENGINE = duckdb.connect(config={"threads": 1})

Oracle = Callable[[str], Any]
"""What a text is worth, in Python's own types; None where it must be refused."""


def judge(type_: Type, texts: Sequence[str]) -> list[Any]:
    """What the contract makes of each text; None where it refuses it."""
    column = Column("x", type_)
    number_and_value = f"select i, case when {column.accepted} then {column.value} end"
    rows = ENGINE.execute(
        f"{number_and_value} from (select i, x, {column.read} from"
        " (select unnest(range(len($texts))) as i, unnest($texts::varchar[]) as x)) order by i",
        {"texts": list(texts)},
    ).fetchall()
    return [value for _, value in rows]


def whole_number(text: str) -> int | None:
    fits = re.fullmatch("0|-?[1-9][0-9]*", text) and -(2**31) <= int(text) < 2**31
    return int(text) if fits else None


def truth(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def day(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if str(found) == text and 1900 <= found.year <= 2200 else None


def moment_of_day(text: str) -> time | None:
    try:
        found = time.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None and postgres_time(found) == text else None


def postgres_time(value: time) -> str:
    whole, _, fraction = value.isoformat().partition(".")
    return f"{whole}.{fraction.rstrip('0')}" if fraction else whole


def number(digits: int) -> Oracle:
    def of(text: str) -> Decimal | None:
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text):
            return None
        value = Decimal(text)
        negative_zero = value == 0 and text.startswith("-")
        exact = value == round(value, 2) and abs(value) < 10**digits
        return value if exact and not negative_zero else None

    return of


ORACLES: list[tuple[Type, Oracle]] = [
    (INTEGER, whole_number),
    (BOOLEAN, truth),
    (DATE, day),
    (TIME, moment_of_day),
    (MONEY, number(8)),
    (AMOUNT, number(16)),
]
every_type = pytest.mark.parametrize(("type_", "oracle"), ORACLES, ids=[t.name for t, _ in ORACLES])

canonical = st.one_of(
    st.integers(-(2**33), 2**33).map(str),
    st.dates(date(1890, 1, 1), date(2210, 12, 31)).map(str),
    st.times().map(postgres_time),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.decimals(-(10**8) - 1, 10**8 + 1, places=2).map(str),
    st.decimals(-(10**16) - 1, 10**16 + 1, places=2).map(str),
    st.decimals(-1000, 1000, places=4).map(str),
    st.booleans().map(lambda value: str(value).lower()),
)
foreign = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
blemished = st.builds(
    lambda text, at, new, cut: text[: at % (len(text) + 1)] + new + text[(at + cut) :],
    canonical,
    st.integers(0, 30),
    st.one_of(foreign, st.sampled_from([*" +-.0:e,_/T\n\t\x0b", "00", "٣", "e1", " BC"])),
    st.integers(0, 2),
)
HOSTILE = [
    *("", " ", "null", "NULL", "NaN", "nan", "inf", "Infinity", "-infinity", "infinity"),
    *(" 1", "1 ", "1\n", "+1", "-0", "00", "01", "1.", ".5", "-.5", "1e3", "1E3", "0x10", "1_000"),
    *("1,000", "٣", "１", "2147483648", "-2147483649", "99999999999999999999", "1.005", "-0.00"),  # noqa: RUF001  digits of other scripts
    *("2.505", "100000000.00", "99999999.995", "0.001", "--1", "1-", "$1", "1.00.00"),
    *("TRUE", "t", "yes", "1", "on", "False", "true "),
    *("2023/02/03", "2023-2-3", "20230203", "2023-02-30", "2023-02-29", "1899-12-31", "2201-01-01"),
    *("0044-03-15 BC", "12023-01-01", "02023-01-01", "2023-02-03 ", "2023-02-03T00:00", "epoch"),
    *("24:00:00", "23:59:60", "1:02:03", "01:02", "01:02:03.", "01:02:03.100", "01:02:03.1234567"),
    *("01:02:03+00", "01:02:03Z", "01:02:03 PM", "01-02-03", "-01:02:03"),
]


@every_type
@given(texts=st.lists(st.one_of(canonical, blemished, foreign), min_size=1, max_size=50))
@example(texts=HOSTILE)
def test_a_text_is_taken_for_its_exact_value_or_refused(
    type_: Type, oracle: Oracle, texts: list[str]
) -> None:
    assert judge(type_, texts) == [oracle(text) for text in texts]


@given(st.integers(-(2**31), 2**31 - 1))
def test_every_integer_of_32_bits_is_taken(value: int) -> None:
    assert judge(INTEGER, [str(value)]) == [value]


def test_every_day_from_1900_to_2200_is_taken_and_no_other() -> None:
    days = [date(1899, 12, 25) + timedelta(days=n) for n in range(366 * 301)]
    taken = judge(DATE, [str(one) for one in days])
    assert [one for one in taken if one] == [one for one in days if 1900 <= one.year <= 2200]


@given(st.times())
def test_every_time_as_postgresql_prints_it_is_taken(value: time) -> None:
    assert judge(TIME, [postgres_time(value)]) == [value]


@pytest.mark.parametrize(("type_", "digits"), [(MONEY, 8), (AMOUNT, 16)])
@given(data=st.data())
def test_every_amount_is_taken_with_more_or_fewer_zeros(
    type_: Type, digits: int, data: st.DataObject
) -> None:
    cents = data.draw(st.integers(1 - 10 ** (digits + 2), 10 ** (digits + 2) - 1))
    value = Decimal(cents).scaleb(-2)
    texts = [f"{value:f}", f"{value:.2f}000", f"{value:.2f}".rstrip("0").rstrip(".")]
    assert judge(type_, texts) == [value] * 3


@given(st.lists(foreign | st.text("\x01\x7f\u2028\ufeff'\"\\ \n", max_size=9), min_size=1))
def test_any_text_is_taken_as_it_is(texts: list[str]) -> None:
    assert judge(VARCHAR, texts) == texts


def test_null_is_taken_only_where_a_column_is_nullable() -> None:
    columns = [column for star in STARS.values() for column in star.columns]
    for column in columns:
        null = f"select null::varchar as {column.quoted}"
        rows = f"select {column.quoted}, {column.read} from ({null})"
        found = ENGINE.execute(f"select ({column.accepted}) is true from ({rows})").fetchone()
        assert found == (column.nullable,), column


def test_the_contract_and_the_warehouse_name_the_same_columns() -> None:
    script = (files("totes.warehouse") / "migrations" / "0001_star.sql").read_text()
    made = {
        table: dict(re.findall(r"^    (\w+) (.+)$", body, re.MULTILINE))
        for table, body in re.findall(
            r"^CREATE TABLE (\w+) \((.*?)^\);", script, re.DOTALL | re.MULTILINE
        )
    }
    assert made.keys() == STARS.keys()
    for star in STARS.values():
        columns = made[star.name]
        ours = {star.surrogate, "valid_from", "valid_to"}
        assert [name for name in columns if name not in ours] == [c.name for c in star.columns]
        for column in star.columns:
            required = "NOT NULL" in columns[column.name] or "PRIMARY KEY" in columns[column.name]
            assert required is not column.nullable
            reference = re.search(r"REFERENCES (\w+)", columns[column.name])
            assert (reference and reference[1]) == column.references


def test_a_fact_points_at_dimensions_that_come_before_it() -> None:
    seen: set[str] = set()
    for star in STARS.values():
        assert {column.references for column in star.columns if column.references} <= seen
        seen.add(star.name)
