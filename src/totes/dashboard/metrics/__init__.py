"""The metrics of the dashboard, each a function of a reading and a filter.

Each asks the replica one or more of the questions in `questions/`. Amounts are in the reporting
currency, converted at the rate of their day; rows without a rate are counted, but not added.
"""

from totes.dashboard.metrics import (
    changes,
    debts,
    dictionary,
    overview,
    payments,
    pipeline,
    purchases,
    records,
    sales,
    versions,
)
from totes.dashboard.metrics.grain import GRAINS, Grain, default_grain, grains
from totes.dashboard.metrics.periods import choices, comparison, previous_period
from totes.dashboard.metrics.total import Quarantined, Total

__all__ = [
    "GRAINS",
    "Grain",
    "Quarantined",
    "Total",
    "changes",
    "choices",
    "comparison",
    "debts",
    "default_grain",
    "dictionary",
    "grains",
    "overview",
    "payments",
    "pipeline",
    "previous_period",
    "purchases",
    "records",
    "sales",
    "versions",
]
