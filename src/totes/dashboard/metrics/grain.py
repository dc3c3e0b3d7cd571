"""Into what a period is divided."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from totes.dashboard.filters import Filter

Grain = Literal["day", "week", "month", "year"]

GRAINS: Mapping[Grain, int] = MappingProxyType({"day": 1, "week": 7, "month": 31, "year": 366})
"""The days of each grain, at most."""

MAX_PARTS = 1000
"""A period is divided into at most about so many parts."""

DAILY_UP_TO, MONTHLY_UP_TO = 92, 3 * 366
"""The longest periods that are shown by day and by month; longer ones are shown by year."""


def grains(criteria: Filter) -> list[Grain]:
    """Return what a period may be divided into: neither a single part, nor too many."""
    offered = [
        grain
        for grain, days in GRAINS.items()
        if criteria.days <= days * MAX_PARTS and (criteria.days > days or grain == "day")
    ]
    return offered or ["year"]


def default_grain(criteria: Filter) -> Grain:
    """Return what a period is divided into."""
    if criteria.days <= DAILY_UP_TO:
        return "day"
    return "month" if criteria.days <= MONTHLY_UP_TO else "year"
