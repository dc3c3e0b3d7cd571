"""The dashboard's part of `make bench`, and all of `make bench-dashboard`.

Seconds are the least of several runs: elapsed, and of the processor (of all threads together). For
each question and each page the table shows the slowest of the filters: each dimension alone, in
pairs and all together, a past moment and another reporting currency, for all time and for 30 days.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

from measurement import Measurement, processor_seconds
from totes.config.dsn import Dsn
from totes.config.settings import DEFAULT_DASHBOARD_MEMORY_MB
from totes.dashboard import metrics
from totes.dashboard.components.rows import LIMITS, RANKED_LIMIT
from totes.dashboard.filters import Filter
from totes.dashboard.metrics import debts, overview, payments, purchases, sales
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.replica import Replica, open_replica

REPEATS = 3

MILLION = 1_000_000

QUARTER = 93
"""Days; for longer periods the sales page shows the top designs only on request."""

INITIAL_ROWS = LIMITS[0] + 1

_PEAK = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """Elapsed and processor seconds."""

    seconds: float
    processor: float

    @classmethod
    def of(cls, action: Callable[[], object], repeats: int = 1) -> "Cost":
        """Return the least of several runs."""
        costs = []
        for _ in range(repeats):
            elapsed, used = time.perf_counter(), processor_seconds()
            action()
            costs.append(cls(time.perf_counter() - elapsed, processor_seconds() - used))
        return cls(min(one.seconds for one in costs), min(one.processor for one in costs))


def first_copy(folder: Path, reader: Dsn) -> Iterator[Measurement]:
    """Measure the first copy of a warehouse."""
    yield _refresh(folder, reader, "first copy")


def refresh(folder: Path, reader: Dsn) -> Iterator[Measurement]:
    """Measure a refresh after the changes."""
    yield _refresh(folder, reader, "refresh after 11,500 changes", target=1)
    yield _refresh(folder, reader, "refresh, nothing changed", target=0.1)


def _refresh(folder: Path, reader: Dsn, name: str, target: float | None = None) -> Measurement:
    with open_replica(folder, reader, memory_mb=DEFAULT_DASHBOARD_MEMORY_MB) as replica:
        _PEAK[0].write_text("5")  # the peak begins again
        cost = Cost.of(replica.refresh)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    return Measurement(
        f"dashboard, {name}",
        cost.seconds,
        cost.processor,
        megabytes=_peak(),
        target=target,
        note=f"file: {size:.0f} MB",
    )


def _peak() -> float:
    """Return the peak resident memory of this process in MB."""
    [line] = [line for line in _PEAK[1].read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1000


def questions(folder: Path, reader: Dsn, orders: int) -> Iterator[Measurement]:
    """Measure each question and each page for all filters."""
    target = 0.1 if orders <= MILLION else 0.4
    with open_replica(folder, reader, memory_mb=DEFAULT_DASHBOARD_MEMORY_MB) as replica:
        _PEAK[0].write_text("5")

        def opening() -> None:
            with open_reading(replica) as reading:
                metrics.choices(reading)

        cost = Cost.of(opening, REPEATS)
        yield Measurement(
            "dashboard, opening with the options of the filters", cost.seconds, cost.processor
        )
        with open_reading(replica) as reading:
            filters = _filters(reading)
            today = metrics.choices(reading).today
            for name, values in QUESTIONS.items():
                run = partial(_ask, reading, name.split()[0], {"today": today, **values})
                yield _slowest(f"question {name}", run, filters, target)
        default = filters["30 days"]
        cost = Cost.of(partial(_draw, replica, _overview, default), REPEATS)
        name = "page overview, first paint: numbers of all cards and charts"
        yield Measurement(name, cost.seconds, cost.processor, target=0.5)
        for name, page in _PAGES.items():
            yield _slowest(f"page {name}", partial(_draw, replica, page), filters)
        yield Measurement(
            "dashboard, all of the above", 0, megabytes=_peak(), note="peak of the process"
        )


def _slowest(
    name: str,
    run: Callable[[Filter], object],
    filters: Mapping[str, Filter],
    target: float | None = None,
) -> Measurement:
    """Return the measurement for the slowest filter."""
    slowest, which = Cost(0, 0), ""
    for label, criteria in filters.items():
        if Cost.of(partial(run, criteria)).seconds > slowest.seconds:
            cost = Cost.of(partial(run, criteria), REPEATS)
            if cost.seconds > slowest.seconds:
                slowest, which = cost, label
    return Measurement(name, slowest.seconds, slowest.processor, target=target, note=which)


def _filters(reading: Reading) -> Mapping[str, Filter]:
    """Return all filters by a label."""
    choices = metrics.choices(reading)
    everything = Filter.of(choices, "all")
    largest = {
        name: sales.by(reading, everything, name, limit=1)
        for name in ("department", "country", "counterparty")
    }
    dimensions: dict[str, dict[str, object]] = {
        "department": {"departments": (largest["department"]["name"].iloc[0],)},
        "country": {"countries": (largest["country"]["name"].iloc[0],)},
        "counterparty": {"counterparties": (int(largest["counterparty"]["key"].iloc[0]),)},
        "currency": {"currencies": ("USD",)},
    }
    changes: dict[str, dict[str, object]] = {"": {}}
    for size in (1, 2, len(dimensions)):
        for names in combinations(dimensions, size):
            changes[", ".join(names)] = {k: v for one in names for k, v in dimensions[one].items()}
    changes["as of"] = {"as_of": reading.state.captured_at}
    changes["in USD"] = {"reporting": "USD"}
    periods = {"all time": everything, "30 days": Filter.of(choices)}
    filters = {
        f"{period}, {label}".removesuffix(", "): replace(criteria, **values)  # type: ignore[arg-type]
        for label, values in changes.items()
        for period, criteria in periods.items()
    }
    year = Filter.of(choices, "last-12-months")
    return {**filters, "a year": year, "a day": year.within(choices.today, choices.today)}


QUESTIONS: Mapping[str, Mapping[str, object]] = {
    "orders_total": {"kind": "sales"},
    "orders_over_time": {"kind": "sales"},
    **{
        f"orders_by {name}": {"kind": "sales", "dimension": name, "row_limit": RANKED_LIMIT}
        for name in sales.DIMENSIONS
    },
    "orders_by item": {"kind": "purchases", "dimension": "item", "row_limit": RANKED_LIMIT},
    "top_designs": {"each": 3},
    "new_and_returning": {},
    "order_rows": {"kind": "sales", "row_limit": INITIAL_ROWS},
    "payments_total": {},
    "payments_over_time": {},
    "payments_ages": {},
    "payments_owed": {},
    "payments_expected": {"grain": "day"},
    "payment_rows paid": {"which": "paid", "row_limit": INITIAL_ROWS},
    "payment_rows open": {"which": "open", "row_limit": INITIAL_ROWS},
    "unclassified_types": {},
}
"""The questions with their parameters; a word after the name is for a second use of a question."""


def _ask(reading: Reading, question: str, values: Mapping[str, object], criteria: Filter) -> object:
    grain = {"grain": metrics.default_grain(criteria)}
    return reading.rows(question, criteria, **{**grain, **values})


def _draw(replica: Replica, page: Callable[[Reading, Filter], object], criteria: Filter) -> None:
    with open_reading(replica) as reading:
        metrics.choices(reading)
        metrics.pipeline.rates_age(reading)
        page(reading, criteria)


def _overview(reading: Reading, criteria: Filter) -> None:
    overview.totals(reading, criteria)
    overview.over_time(reading, criteria)
    debts.over_time(reading, criteria)


def _sales(reading: Reading, criteria: Filter) -> None:
    """Run the queries of the page's first tab, with top designs for up to a quarter."""
    sales.summary(reading, criteria)
    sales.over_time(reading, criteria)
    sales.new_and_returning(reading, criteria)
    for dimension in ("country", "design"):
        sales.by(reading, criteria, dimension)
    if criteria.days <= QUARTER:
        sales.top_designs(reading, criteria)


def _purchases(reading: Reading, criteria: Filter) -> None:
    """Run the queries of the page's first tab."""
    purchases.summary(reading, criteria)
    purchases.over_time(reading, criteria)
    purchases.by(reading, criteria, "counterparty", limit=RANKED_LIMIT)
    purchases.deliveries(reading, criteria, limit=INITIAL_ROWS)


def _payments(reading: Reading, criteria: Filter) -> None:
    payments.summary(reading, criteria)
    payments.uncovered(reading, criteria)
    payments.over_time(reading, criteria)
    payments.ages(reading, criteria)
    payments.owed(reading, criteria)
    payments.expected(reading, criteria)
    payments.open_rows(reading, criteria, limit=INITIAL_ROWS)


def _changes(reading: Reading, criteria: Filter) -> None:
    captured = metrics.changes.captured_in(reading, criteria)
    metrics.changes.summary(reading, captured)
    metrics.changes.rows(reading, captured, limit=INITIAL_ROWS)


_PAGES = {
    "overview": _overview,
    "sales": _sales,
    "purchases": _purchases,
    "payments": _payments,
    "changes": _changes,
}
