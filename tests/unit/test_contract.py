"""The contract accepts a text only with its exact value, and rejects every other text."""

from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from star_texts import (
    EDGE_CASES,
    ORACLES,
    Oracle,
    altered_texts,
    arbitrary_texts,
    canonical_texts,
    postgres_time,
)

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
from totes.star.folder import TOTESYS

ENGINE = duckdb.connect(config={"threads": 1})


def read_values(type_: Type, texts: Sequence[str]) -> list[Any]:
    """Return the value of each text; None if the contract rejects it."""
    column = Column("x", type_)
    select_value = f"select i, case when {column.is_accepted} then {column.value} end"
    rows = ENGINE.execute(
        f"{select_value} from (select i, x, {column.cast} from"
        " (select unnest(range(len($texts))) as i, unnest($texts::varchar[]) as x)) order by i",
        {"texts": list(texts)},
    ).fetchall()
    return [value for _, value in rows]


every_type = pytest.mark.parametrize(
    ("type_", "oracle"), ORACLES, ids=[t.loaded for t, _ in ORACLES]
)


@every_type
@given(
    texts=st.lists(
        st.one_of(canonical_texts, altered_texts, arbitrary_texts), min_size=1, max_size=50
    )
)
@example(texts=EDGE_CASES)
def test_a_text_is_accepted_with_its_exact_value_or_rejected(
    type_: Type, oracle: Oracle, texts: list[str]
) -> None:
    assert read_values(type_, texts) == [oracle(text) for text in texts]


@given(st.integers(-(2**31), 2**31 - 1))
def test_every_32_bit_integer_is_accepted(value: int) -> None:
    assert read_values(INTEGER, [str(value)]) == [value]


def test_only_days_from_1900_to_2200_are_accepted() -> None:
    days = [date(1899, 12, 25) + timedelta(days=n) for n in range(366 * 301)]
    accepted = read_values(DATE, [str(one) for one in days])
    assert [one for one in accepted if one] == [one for one in days if 1900 <= one.year <= 2200]


@given(st.times())
def test_every_time_as_postgresql_prints_it_is_accepted(value: time) -> None:
    text = postgres_time(value)
    assert read_values(TIME, [text]) == [text]


@pytest.mark.parametrize(("type_", "digits"), [(MONEY, 8), (AMOUNT, 16)])
@given(data=st.data())
def test_every_amount_is_accepted_with_more_or_fewer_zeros(
    type_: Type, digits: int, data: st.DataObject
) -> None:
    cents = data.draw(st.integers(1 - 10 ** (digits + 2), 10 ** (digits + 2) - 1))
    value = Decimal(cents).scaleb(-2)
    texts = [f"{value:f}", f"{value:.2f}000", f"{value:.2f}".rstrip("0").rstrip(".")]
    assert read_values(type_, texts) == [value] * 3


@given(st.integers(1, 10**18 - 1))
def test_every_positive_rate_is_accepted_with_more_or_fewer_zeros(millionths: int) -> None:
    value = Decimal(millionths).scaleb(-6)
    texts = [f"{value:f}", f"{value:.6f}00", f"{value:.6f}".rstrip("0").rstrip("."), f"-{value:f}"]
    assert read_values(RATE, texts) == [value, value, value, None]


@given(st.lists(arbitrary_texts | st.text("\x01\x7f\u2028\ufeff'\"\\ \n", max_size=9), min_size=1))
def test_any_text_without_nul_is_accepted(texts: list[str]) -> None:
    """PostgreSQL's text has no NUL; it marks a value that can't be read in the source."""
    assert read_values(VARCHAR, texts) == [None if "\0" in text else text for text in texts]


def test_null_is_accepted_only_in_nullable_columns() -> None:
    columns = [column for star in TOTESYS.tables.values() for column in star.columns]
    for column in columns:
        null = f"select null::varchar as {column.quoted}"
        rows = f"select {column.quoted}, {column.cast} from ({null})"
        found = ENGINE.execute(f"select ({column.is_accepted}) is true from ({rows})").fetchone()
        assert found == (column.nullable,), column


def test_referenced_dimensions_come_before_facts() -> None:
    seen: set[str] = set()
    for star in TOTESYS.tables.values():
        assert {column.references for column in star.columns if column.references} <= seen
        seen.add(star.name)
