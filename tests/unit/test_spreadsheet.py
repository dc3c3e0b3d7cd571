"""CSV files have exactly the rows that are shown, and no formulas."""

import csv as reader
from decimal import Decimal
from io import StringIO

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.dashboard.components.spreadsheet import csv

FORMULAS = (
    '=HYPERLINK("http://localhost/?"&A1)',
    "+44 20 7946 0000",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "＝1+1",  # noqa: RUF001
)


def cells(frame: pd.DataFrame) -> list[list[str]]:
    text = csv(frame).decode("utf-8-sig")
    return list(reader.reader(StringIO(text, newline="")))[1:]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_text_is_no_formula(formula: str) -> None:
    assert cells(pd.DataFrame({"name": [formula, "plain"]})) == [[f"'{formula}"], ["plain"]]
    assert csv(pd.DataFrame({formula: [1]})).decode("utf-8-sig").strip('"').startswith("'")


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1))
def test_every_text_is_unchanged(texts: list[str]) -> None:
    found = [cell for cell, _ in cells(pd.DataFrame({"name": texts, "n": 1}))]
    assert len(found) == len(texts)
    assert [text for text in found if text.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    assert [text.removeprefix("'") for text in found] == [text.removeprefix("'") for text in texts]


def test_numbers_and_missing_values_are_unchanged() -> None:
    frame = pd.DataFrame(
        {
            "amount": pd.Series([Decimal("-0.10"), None], dtype=object),
            "id": pd.array([-(2**53) - 1, None], dtype="Int64"),
        }
    )
    assert cells(frame) == [["-0.10", "-9007199254740993"], ["", ""]]
