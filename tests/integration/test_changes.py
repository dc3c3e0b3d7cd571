"""The changes of orders and payments, compared with those of random versions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import pytest
from depth import drawn, seeded_random

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import changes
from totes.dashboard.metrics.changes import COLUMNS, Selection
from totes.dashboard.reading import Reading
from totes.dashboard.replica import State
from totes.dashboard.replica.tables import TABLES

CAPTURES = [datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(hours=9 * step) for step in range(9)]

DAYS = [date(2026, 2, 1) + timedelta(days=step) for step in range(3)]

POUND, DOLLAR = 1, 2

type Row = dict[str, Any]

FACTORS = {(day, DOLLAR): Decimal("0.5") for day in DAYS[1:]} | {
    (day, POUND): Decimal(1) for day in DAYS
}
"""What an amount is multiplied by, by day and currency; the first day has no rate of the dollar."""

AMOUNT_COLUMNS = {
    *("row", "currency", "units_sold", "unit_price", "item_quantity", "item_unit_price"),
    "payment_amount",
}

UNCHANGED = {"sales_record_id", "purchase_record_id", "payment_record_id", "valid_from", "valid_to"}

UNCOMPARED = {
    *UNCHANGED,
    *("last_updated_date", "last_updated_time"),
}
"""Columns that changes do not list."""

SHOWN: dict[str, dict[int, str]] = {
    "staff": {key: f"Ann {key}" for key in (1, 2, 3)},
    "currency": {POUND: "GBP", DOLLAR: "USD"},
    "payment_type": {1: "SALES_RECEIPT", 2: "PURCHASE_PAYMENT"},
}
"""The names of the dimensions' rows that exist; other keys are shown themselves."""

NAMES = {
    "sales_staff_id": "staff",
    "staff_id": "staff",
    "counterparty_id": "counterparty",
    "design_id": "design",
    "currency_id": "currency",
    "agreed_delivery_location_id": "delivery_to",
    "payment_type_id": "payment_type",
}
"""What a changed column of the warehouse is called, if it is not the column's name."""


@dataclass(frozen=True)
class Change:
    """A change as the oracle sees it; `old` and `new` are versions, `new` is None if deleted."""

    kind: str
    key: int
    captured_at: datetime
    old: Row
    new: Row | None
    columns: set[str] = field(default_factory=set)

    @property
    def silent(self) -> bool:
        moment = ("last_updated_date", "last_updated_time")
        return self.new is not None and all(self.old[name] == self.new[name] for name in moment)

    def value_change(self) -> tuple[bool, Decimal | None]:
        """Whether the amount changed, and by how much: None without a rate."""
        before, after = self._amount(self.old), self._amount(self.new) if self.new else None
        if self.new and (before, self.old["currency_id"]) == (after, self.new["currency_id"]):
            return False, None
        values = [self._value(self.old), self._value(self.new) if self.new else Decimal(0)]
        if values[0] is None or values[1] is None:
            return True, None
        return True, values[1] - values[0]

    def values(self, column: str) -> tuple[str, str]:
        """The values of a column before and after the change, as they are shown."""
        if self.new is None:
            return "exists", "deleted"
        return _shown(self.old, column), _shown(self.new, column)

    def is_selected(self, criteria: Filter) -> bool:
        """Whether the filter selects one of the versions."""
        return any(
            (not criteria.counterparties or version["counterparty_id"] in criteria.counterparties)
            and (not criteria.currencies or version["currency_id"] == DOLLAR)
            for version in (self.old, self.new)
            if version
        )

    def _amount(self, version: Row) -> Decimal:
        amounts: dict[str, Callable[[], Decimal]] = {
            "sales_order": lambda: version["units_sold"] * version["unit_price"],
            "purchase_order": lambda: version["item_quantity"] * version["item_unit_price"],
            "payment": lambda: version["payment_amount"],
        }
        return amounts[self.kind]()

    def _value(self, version: Row) -> Decimal | None:
        day = version["payment_date" if self.kind == "payment" else "created_date"]
        factor = FACTORS.get((day, version["currency_id"]))
        return None if factor is None else self._amount(version) * factor


def _shown(version: Row, column: str) -> str:
    names = {shown: name for name, shown in NAMES.items() if name in version}
    match version.get(names.get(column, column)):
        case None:  # last_updated
            return f"{version['last_updated_date']} {version['last_updated_time']}"
        case bool(value):
            return "yes" if value else "no"
        case Decimal() as value:
            return f"{value:.2f}"
        case value:
            return SHOWN.get(column, {}).get(value, str(value))


@pytest.fixture
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty replica, with two currencies and their rates."""
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        for table in TABLES.values():
            opened.execute(table.create)
        opened.execute(
            "INSERT INTO dim_currency (currency_id, currency_code) VALUES (1, 'GBP'), (2, 'USD');"
            "INSERT INTO dim_payment_type (payment_type_id, payment_type_name)"
            " VALUES (1, 'SALES_RECEIPT'), (2, 'PURCHASE_PAYMENT');"
            "INSERT INTO dim_staff (staff_id, first_name, last_name, department_name)"
            " SELECT i, 'Ann', i, 'Sales' FROM range(1, 4) AS t (i);"
            "INSERT INTO dim_transaction (transaction_id, transaction_type, sales_order_id)"
            " SELECT i, 'SALE', i FROM range(1, 4) AS t (i)"
        )
        opened.executemany("INSERT INTO dim_date (date_id) VALUES ($1)", [[day] for day in DAYS])
        for day in DAYS:
            for code, rate in (("GBP", 1), ("USD", 2)):
                if code == "GBP" or day > DAYS[0]:
                    opened.execute(
                        "INSERT INTO fact_exchange_rate BY NAME SELECT $1 AS rate_date,"
                        " $2 AS currency_code, $3 AS rate, timestamptz '2026-01-01' AS valid_from",
                        [day, code, rate],
                    )
        yield opened


def test_changes_are_those_between_the_versions(engine: duckdb.DuckDBPyConnection) -> None:
    chance = seeded_random()
    expected = [
        change
        for kind in COLUMNS
        for key in range(20)
        for change in insert_versions(engine, chance, kind, key)
    ]
    state = State("", "", 1, CAPTURES[-1], CAPTURES[-1], CAPTURES[0], CAPTURES[-1], {}, 0)
    reading = Reading(engine, state)
    compare(reading, expected, Filter(*ALL_DAYS), changes.ALL)
    for _ in range(drawn(6, 500)):
        compare(reading, expected, random_filter(chance), random_selection(chance))


def insert_versions(
    engine: duckdb.DuckDBPyConnection, chance: Random, kind: str, key: int
) -> Iterator[Change]:
    """Insert the versions of a record; yield its changes."""
    table = TABLES[f"fact_{kind}"]
    moments = sorted(chance.sample(CAPTURES, chance.randint(1, 5)))
    key_name = f"{kind}_id"
    known = {*COLUMNS[kind], *UNCOMPARED, key_name}
    names = [name for name in table.columns if NAMES.get(name, name) in known]
    version = {name: value(chance, name) for name in names} | {key_name: key}
    ends = [*moments[1:], chance.choice([None, datetime(2026, 3, 20, tzinfo=UTC)])]
    versions: list[Row] = []
    for number, (begin, end) in enumerate(zip(moments, tuple(ends), strict=True)):
        before = version
        while number and version == before:  # the load adds no equal version
            changing = chance.sample(sorted({*names} - {key_name, *UNCHANGED}), 3)
            version = before | {name: value(chance, name) for name in changing}
        if end and number < len(ends) - 1 and chance.random() < 0.1:
            ends[number] = end - timedelta(hours=1)  # deleted, and created again later
        versions.append(version | {"valid_from": begin, "valid_to": ends[number]})
        engine.execute(
            f"INSERT INTO {table.name} ({', '.join(names)})"
            f" VALUES ({', '.join(f'${place}' for place in range(1, len(names) + 1))})",
            [versions[-1][name] for name in names],
        )
    for old, new in zip(versions, [*versions[1:], None], strict=True):
        if old["valid_to"] is None:
            continue
        if new is None or new["valid_from"] > old["valid_to"]:
            yield Change(kind, key, old["valid_to"], old, None, {"row"})
            continue
        differing = {name for name in names if old[name] != new[name]}
        columns = {NAMES.get(name, name) for name in differing - UNCOMPARED}
        yield Change(kind, key, old["valid_to"], old, new, columns)


def value(chance: Random, name: str) -> Any:
    """Return a random value of a column, one of few."""
    number = chance.randint(1, 3)
    match name.rsplit("_", 1)[-1]:
        case "date":
            return DAYS[number - 1]
        case "time":
            return time(number % 2)
        case "paid":
            return number == 1
        case "code":
            return f"ITEM {number}"
        case "price" | "amount":
            return Decimal(number) / 4
        case _:
            return chance.choice([POUND, DOLLAR]) if name == "currency_id" else number


def random_filter(chance: Random) -> Filter:
    """Return a filter of some days, or of all, with or without a counterparty and a currency."""
    since, until = sorted(chance.choices([one.date() for one in CAPTURES], k=2))
    if chance.random() < 0.5:
        since, until = ALL_DAYS
    return Filter(
        since,
        until,
        counterparties=chance.choice([(), (1,)]),
        currencies=chance.choice([(), ("USD",)]),
    )


def random_selection(chance: Random) -> Selection:
    """Return a selection, in most cases of all columns."""
    kind = chance.choice([None, *COLUMNS])
    return Selection(
        kind=kind,
        column=chance.choice(COLUMNS[kind or "payment"]) if chance.random() < 0.4 else None,
        only_silent=chance.random() < 0.3,
        after=chance.choice([None, CAPTURES[3]]),
    )


def compare(reading: Reading, every: list[Change], criteria: Filter, selection: Selection) -> None:
    """Compare totals and rows of the changes."""
    found = [
        one
        for one in every
        if criteria.since <= one.captured_at.date() <= criteria.until
        and selection.kind in {None, one.kind}
        and (selection.column is None or selection.column in one.columns)
        and (one.silent or not selection.only_silent)
        and (selection.after is None or one.captured_at > selection.after)
        and one.is_selected(criteria)
    ]
    affects = selection.column is None or selection.column in AMOUNT_COLUMNS
    for name, got in changes.summary(reading, criteria, selection).items():
        own = [one for one in found if one.kind == name]
        value_change = [one.value_change() for one in own if affects and one.value_change()[0]]
        assert (got.changes, got.silent, got.records, got.deleted, got.unconverted) == (
            len(own),
            sum(one.silent for one in own),
            len({one.key for one in own}),
            sum(one.new is None for one in own),
            sum(amount is None for _, amount in value_change),
        )
        assert got.value_change == total([amount for _, amount in value_change])
        silent = [
            one.value_change() for one in own if affects and one.silent and one.value_change()[0]
        ]
        assert got.silent_value_change == total([amount for _, amount in silent])
    rows = changes.rows(reading, criteria, selection)
    columns = ["kind", "key", "captured_at", "column_name", "before", "after", "silent"]
    assert sorted(rows[columns].itertuples(index=False)) == [
        *sorted(
            (one.kind, one.key, one.captured_at, column, *one.values(column), one.silent)
            for one in found
            for column in (one.columns or {"last_updated"})
            if selection.column in {None, column}
        )
    ]
    assert list(rows["captured_at"]) == sorted(rows["captured_at"], reverse=True)
    limited = changes.rows(reading, criteria, selection, limit=7)
    assert limited.to_numpy().tolist() == rows.head(7).to_numpy().tolist()
    shown = [value_change for value_change in rows["value_change"] if value_change is not None]
    assert len(shown) == sum(affects and one.value_change()[1] is not None for one in found)


def total(amounts: list[Decimal | None]) -> Decimal | None:
    """Return the rounded sum; None if no amount is known."""
    known = [amount for amount in amounts if amount is not None]
    if amounts and not known:
        return None
    return sum(known, Decimal()).quantize(Decimal("0.01"), "ROUND_HALF_UP")
