"""What the contract takes is exactly what was written, and everything else is refused."""

from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from star_texts import HOSTILE, ORACLES, Oracle, blemished, canonical, foreign, postgres_time

from totes.star.contract import (
    AMOUNT,
    DATE,
    INTEGER,
    MONEY,
    RATE,
    TIME,
    VARCHAR,
    Column,
    Type,
)
from totes.star.definition import TOTESYS

ENGINE = duckdb.connect(config={"threads": 1})


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


every_type = pytest.mark.parametrize(("type_", "oracle"), ORACLES, ids=[t.name for t, _ in ORACLES])


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


@given(st.integers(1, 10**18 - 1))
def test_every_rate_above_zero_is_taken_with_more_or_fewer_zeros(millionths: int) -> None:
    value = Decimal(millionths).scaleb(-6)
    texts = [f"{value:f}", f"{value:.6f}00", f"{value:.6f}".rstrip("0").rstrip("."), f"-{value:f}"]
    assert judge(RATE, texts) == [value, value, value, None]


@given(st.lists(foreign | st.text("\x01\x7f\u2028\ufeff'\"\\ \n", max_size=9), min_size=1))
def test_any_text_is_taken_as_it_is(texts: list[str]) -> None:
    """But for NUL, which no text of PostgreSQL has: it marks a value that could not be read."""
    assert judge(VARCHAR, texts) == [None if "\0" in text else text for text in texts]


def test_null_is_taken_only_where_a_column_is_nullable() -> None:
    columns = [column for star in TOTESYS.tables.values() for column in star.columns]
    for column in columns:
        null = f"select null::varchar as {column.quoted}"
        rows = f"select {column.quoted}, {column.read} from ({null})"
        found = ENGINE.execute(f"select ({column.accepted}) is true from ({rows})").fetchone()
        assert found == (column.nullable,), column


def test_a_fact_points_at_dimensions_that_come_before_it() -> None:
    seen: set[str] = set()
    for star in TOTESYS.tables.values():
        assert {column.references for column in star.columns if column.references} <= seen
        seen.add(star.name)
