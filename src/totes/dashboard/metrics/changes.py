"""Changes of orders and payments, as captures found them.

A change is silent if `last_updated` is the same in both versions: programs that read only the rows
with a new `last_updated` miss it.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd

from totes.dashboard.filters import PRESETS, Choices, Filter
from totes.dashboard.metrics.definitions import Metric
from totes.dashboard.reading import Reading

ORDER_COLUMNS = (
    *("currency", "counterparty", "staff", "agreed_delivery_date", "delivery_to"),
    *("agreed_payment_date", "created_date", "created_time"),
)

COLUMNS = {
    "sales_order": ("row", "units_sold", "unit_price", "design", *ORDER_COLUMNS),
    "purchase_order": ("row", "item_quantity", "item_unit_price", "item_code", *ORDER_COLUMNS),
    "payment": (
        *("row", "payment_amount", "currency", "paid", "payment_type", "counterparty"),
        *("payment_date", "transaction_id", "created_date", "created_time"),
    ),
}
"""The columns that changes are recorded of, by the kind of record; `row` is a deletion."""


@dataclass(frozen=True)
class Selection:
    """The changes that are counted or listed; None selects all."""

    kind: str | None = None
    key: int | None = None
    column: str | None = None
    only_silent: bool = False
    after: datetime | None = None
    """Only changes that were captured later, such as those after a batch."""

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the questions."""
        return {
            "record_kind": self.kind,
            "record_key": self.key,
            "changed_column": self.column,
            "only_silent": self.only_silent,
            "captured_after": self.after,
        }


@dataclass(frozen=True)
class Changes:
    """The changes of one kind of record, `deleted` included.

    `records` are the orders or payments that changed. `value_change` is the change of their amounts
    in the reporting currency, `silent_value_change` that of silent changes; None if none of them
    has a rate.
    `unconverted` changes of amounts have no rate.
    """

    kind: str
    changes: int
    silent: int
    records: int
    deleted: int
    value_change: Decimal | None
    silent_value_change: Decimal | None
    unconverted: int


ALL = Selection()


def summary(reading: Reading, criteria: Filter, selection: Selection = ALL) -> dict[str, Changes]:
    """Return the changes that were captured in the period of the filter, by kind of record."""
    rows = reading.rows("changes_total", criteria, **selection.parameters)
    return {row[0]: Changes(*row) for row in rows}


def rows(
    reading: Reading, criteria: Filter, selection: Selection = ALL, limit: int | None = None
) -> pd.DataFrame:
    """Return a row for each changed value, the newest first.

    Columns: captured_at, kind, key, column_name, before, after, silent, value_change (in the first
    row of a change, None if the amount is the same), counterparty_id, counterparty, staff_id,
    staff.
    """
    values = selection.parameters | {"row_limit": limit}
    if limit is not None:  # the values of older changes are not read
        [(newest,)] = reading.rows("changes_newest", criteria, **values)
        values["captured_from"] = newest
    return reading.run("changes", criteria, **values)


def captured_in(reading: Reading, criteria: Filter) -> Filter:
    """Return the filter with the period of captures: the last 30 days end with the last capture.

    The other pages' periods end with the newest order, which in a simulated business is older.
    """
    if not criteria.period:
        return criteria
    last = criteria.as_of or reading.state.checked_at or reading.now
    first = reading.state.history_begins or last
    days = (last.astimezone(UTC).date(), first.astimezone(UTC).date())
    return criteria.within(*PRESETS[criteria.period](*days))


SILENT_CHANGES = Metric(
    name="silent_changes",
    label="Silent changes",
    formula="Number of changes of orders and payments that last_updated does not show",
    rows="changes captured in the period",
    columns=(),
    unit="count",
    line="change",
    value="count(*)",
    condition="silent",
)
"""A metric of alert rules only: its rows are not those of a page's filter."""


def count_silent(reading: Reading, criteria: Filter) -> int:
    """Return the number of silent changes that were captured in the period of the filter."""
    return sum(each.silent for each in summary(reading, criteria).values())


def capture_choices(reading: Reading, choices: Choices) -> Choices:
    """Return the choices with the days of captures instead of those of orders."""
    last = reading.state.checked_at or reading.now
    first = reading.state.history_begins or last
    return replace(
        choices, today=last.astimezone(UTC).date(), first_day=first.astimezone(UTC).date()
    )
