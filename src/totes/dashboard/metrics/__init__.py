"""What the business wants to know, each as a function of a reading and a filter.

Sums are never taken over history: they read the `current_…` views, the `…_as_of` functions or the
daily totals, which equal them. Amounts are in the reporting currency, each at the rate of its day;
what has no rate is counted, never added.
"""

from totes.dashboard.metrics import (
    debts,
    dictionary,
    history,
    overview,
    payments,
    pipeline,
    purchases,
    sales,
)
from totes.dashboard.metrics.choosing import choices, compared
from totes.dashboard.metrics.lines import Grain, fitting_grain
from totes.dashboard.metrics.total import Total, Waiting

__all__ = [
    "Grain",
    "Total",
    "Waiting",
    "choices",
    "compared",
    "debts",
    "dictionary",
    "fitting_grain",
    "history",
    "overview",
    "payments",
    "pipeline",
    "purchases",
    "sales",
]
