"""Prepare rows for charts: the first rows, sums, and periods with data."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pandas as pd

from totes.dashboard import text

FEW, ENOUGH, MANY = 7, 15, 100
"""How many bars a list shows: at least, at most, and on request; the others are a text."""


BEFORE = "_before"
"""Suffix of a column with the values of the period that a series is compared with."""


def with_previous(
    series: pd.DataFrame, previous: pd.DataFrame, columns: Iterable[str]
) -> pd.DataFrame:
    """Return the series with columns `…_before`: its first part beside the first previous one."""
    places = range(len(series))
    values = {
        f"{name}{BEFORE}": [
            previous[name].iloc[place] if place < len(previous) else None for place in places
        ]
        for name in ("start", *columns)
    }
    return series.assign(**{name: pd.Series(of, dtype=object) for name, of in values.items()})


def enough(frame: pd.DataFrame) -> int:
    """Return how many of the rows, largest first, leave others that sum up to less than a bar."""
    largest = sum_known(frame["value"].head(1)) or Decimal(0)
    for most in range(FEW, ENOUGH):
        if (sum_known(frame["value"].iloc[most:]) or Decimal(0)) <= largest:
            return most
    return ENOUGH


def sum_known(values: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum of the known values; None if there are values and all are unknown."""
    all_values = list(values)
    present = [value for value in all_values if value is not None and not text.is_missing(value)]
    return sum(present, Decimal(0)) if present or not all_values else None


def trim_empty_periods(frame: pd.DataFrame, columns: Iterable[str], most: int = 62) -> pd.DataFrame:
    """Return the frame; if it has very many periods, only from the first to the last with data."""
    if len(frame) <= most:
        return frame
    places = [place for place, has_data in enumerate(_has_data(frame, columns)) if has_data]
    return frame.iloc[places[0] : places[-1] + 1] if places else frame.iloc[-1:]


def has_data(frame: pd.DataFrame, columns: Iterable[str]) -> bool:
    """Return whether a column has a value that is not zero, or an unknown one."""
    return bool(_has_data(frame, columns).any())


def _has_data(frame: pd.DataFrame, columns: Iterable[str]) -> "pd.Series[bool]":
    """Return for each row whether it has a value that is not zero, or an unknown one."""
    each = frame[list(columns)].map(lambda value: text.is_missing(value) or bool(value))
    return each.any(axis=1)


def as_date(value: object) -> date:
    """Return the day that a selection of a period begins with."""
    return datetime.fromisoformat(str(value)).date()
