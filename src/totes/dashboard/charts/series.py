"""Rows as charts want them: the first of many, their sum, namesakes told apart."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pandas as pd

from totes.dashboard import text

MOST = 7
"""Categories in a chart; what is left is told in words."""


def folded(frame: pd.DataFrame, most: int = MOST) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first rows, and the others."""
    return frame.iloc[:most], frame.iloc[most:]


def added(values: Iterable[Decimal | None]) -> Decimal | None:
    """The sum of what is known; None where there is something, and nothing of it is known."""
    given = list(values)
    known = [value for value in given if value is not None and not text.is_missing(value)]
    return sum(known, Decimal(0)) if known or not given else None


def busy(frame: pd.DataFrame, columns: Iterable[str], most: int = 62) -> pd.DataFrame:
    """Of very many periods those from the first to the last in which something happened."""
    if len(frame) <= most:
        return frame
    places = [place for place, any_of_it in enumerate(_happened(frame, columns)) if any_of_it]
    return frame.iloc[places[0] : places[-1] + 1] if places else frame.iloc[-1:]


def happened(frame: pd.DataFrame, columns: Iterable[str]) -> bool:
    """Whether there is anything in a column but zeros."""
    return bool(_happened(frame, columns).any())


def _happened(frame: pd.DataFrame, columns: Iterable[str]) -> "pd.Series[bool]":
    """In which rows; what isn't known is something."""
    each = frame[list(columns)].map(lambda value: text.is_missing(value) or bool(value))
    return each.any(axis=1)


def as_date(value: object) -> date:
    """What a selection of a period says."""
    return datetime.fromisoformat(str(value)).date()
