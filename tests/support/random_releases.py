"""Random changes of orders that are accepted, rejected or wait, and releases of them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from processed_lake import ProcessedLake, Row, moment, rejected_row, sale, staff


@dataclass(frozen=True)
class Event:
    """A change of an order in one batch: its units (None: deleted), and how the load treats it."""

    outcome: str
    units: int | None


EVENTS = st.one_of(
    st.builds(Event, st.just("accepted"), st.integers(1, 3)),
    st.builds(Event, st.just("rejected"), st.integers(1, 3)),
    st.builds(Event, st.just("waiting"), st.integers(1, 3)),
    st.just(Event("accepted", None)),
    st.none(),
)
ORDERS = range(1, 6)
STEPS = st.lists(st.tuples(*[EVENTS] * len(ORDERS)), min_size=1, max_size=6)
RELEASES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=5)

Events = dict[int, int | None]
"""The changes of one order by batch: its units, or None for a deletion."""


def expected_versions(events: Events) -> list[tuple[int, datetime, datetime | None]]:
    """Return the versions that result from the accepted events."""
    order = sorted(events)
    versions: list[tuple[int, datetime, datetime | None]] = []
    for batch, following in zip(order, [*order, None][1:], strict=True):
        units, ends = events[batch], moment(following) if following else None
        if units is None:
            continue
        if versions and versions[-1][0] == units and versions[-1][2] == moment(batch):
            versions[-1] = (units, versions[-1][1], ends)
        else:
            versions.append((units, moment(batch), ends))
    return versions


def merge_equal_versions(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Merge equal versions that are adjacent."""
    versions: list[tuple[Any, ...]] = []
    for units, valid_from, valid_to in rows:
        if versions and versions[-1][0] == units and versions[-1][2] == valid_from:
            versions[-1] = (units, versions[-1][1], valid_to)
        else:
            versions.append((units, valid_from, valid_to))
    return versions


@dataclass
class Orders:
    """Publishes changes of a few orders batch by batch, and records the expected events."""

    lake: ProcessedLake
    accepted: dict[int, Events] = field(default_factory=lambda: {order: {} for order in ORDERS})
    waiting: dict[int, Events] = field(default_factory=lambda: {order: {} for order in ORDERS})
    rejected: dict[int, dict[int, int]] = field(default_factory=dict)

    def publish(self, batch: int, events: tuple[Event | None, ...]) -> None:
        """Publish a batch with one event for each order."""
        sales: list[Row] = []
        deletes: list[int] = []
        rejected_rows: list[Row] = []
        for order, event in zip(ORDERS, events, strict=True):
            match event:
                case Event(units=None):
                    deletes.append(order)
                    self.accepted[order][batch] = None
                case Event(outcome="rejected", units=int(units)):
                    rejected_rows.append(rejected_row("fact_sales_order", order))
                    self.rejected.setdefault(batch, {})[order] = units
                case Event(outcome="waiting", units=units):
                    sales.append(sale(order, units_sold=units, sales_staff_id=9))
                    self.waiting[order][batch] = units
                case Event(units=units):
                    sales.append(sale(order, units_sold=units))
                    self.accepted[order][batch] = units
        self.lake.publish({"fact_sales_order": sales}, {"fact_sales_order": deletes}, rejected_rows)

    def release(self, batch: int, *, with_dimension: bool) -> None:
        """Publish a release of the rejected rows of `batch`, with the missing dimension row."""
        released = self.rejected.get(batch, {})
        for order, units in released.items():
            self.accepted[order][batch] = units
        for order in ORDERS if with_dimension else ():
            self.accepted[order] |= self.waiting[order]
        self.lake.publish(
            {
                "dim_staff": [staff(9)] if with_dimension else [],
                "fact_sales_order": [
                    {**sale(order, units_sold=units), "valid_from": moment(batch)}
                    for order, units in released.items()
                ],
            }
        )
