"""Rows in quarantine that totals exclude, and those that they have in an earlier version."""

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import periods
from totes.dashboard.metrics.total import NONE_QUARANTINED, Quarantined
from totes.dashboard.reading import Reading


def for_total(reading: Reading, criteria: Filter, fact: str, total: str = "orders") -> Quarantined:
    """Return a fact's rows in quarantine for one of the totals of `quarantined_totals.sql`."""
    totals = reading.cached(
        ("quarantined", fact, criteria), lambda: _totals(reading, criteria, fact)
    )
    return totals.get(total, NONE_QUARANTINED)


def _totals(reading: Reading, criteria: Filter, fact: str) -> dict[str, Quarantined]:
    facts = reading.cached("quarantined facts", lambda: reading.rows("quarantined_facts"))
    if (fact,) not in facts:  # the usual case
        return {}
    today = periods.days(reading, criteria.as_of).today
    rows = reading.rows("quarantined_totals", criteria, fact=fact, today=today)
    return {total: Quarantined(*sums) for total, *sums in rows}
