"""From totesys to the warehouse, a value is unchanged, or its row is quarantined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest
import random_values
from depth import seeded_random
from installation import Installation
from psycopg import sql
from star_texts import EDGE_CASES, ORACLES, Oracle, time_value

from totes.operations.verify import verify
from totes.star.contract import AMOUNT, BOOLEAN, DATE, INTEGER, MONEY, TIME, VARCHAR, Type
from totes.star.folder import TOTESYS
from totes.star.lineage import column_sources

pytestmark = pytest.mark.few(1)

COLUMN_TYPES: Mapping[tuple[str, str], Type] = {
    ("sales_order", "units_sold"): INTEGER,
    ("sales_order", "unit_price"): MONEY,
    ("sales_order", "agreed_payment_date"): DATE,
    ("sales_order", "agreed_delivery_date"): DATE,
    ("purchase_order", "item_code"): VARCHAR,
    ("purchase_order", "item_quantity"): INTEGER,
    ("purchase_order", "item_unit_price"): AMOUNT,
    ("payment", "payment_amount"): AMOUNT,
    ("payment", "paid"): BOOLEAN,
    ("payment", "payment_date"): DATE,
}
"""The types in the star of columns of totesys."""

TIMESTAMP_COLUMNS = (("sales_order", "created_at"), ("payment", "last_updated"))
"""Columns that are split into a date and a time."""


def warehouse_time(text: str) -> time | None:
    return None if time_value(text) is None else time.fromisoformat(text)


READERS: Mapping[Type, Oracle] = {**dict(ORACLES), VARCHAR: str, TIME: warehouse_time}
"""The values of texts in the warehouse."""


@dataclass(frozen=True)
class Case:
    """A row of totesys with one random text, and the expected result.

    `columns` maps columns of the star to their text and value. If a value is None, the row is
    rejected because of the first such column.
    """

    table: str
    column: str
    key: int
    text: str | None
    columns: Mapping[str, tuple[str | None, Any]]

    @property
    def rejected(self) -> tuple[str, str | None] | None:
        for column, (text, value) in self.columns.items():
            if value is None:
                return column, text
        return None


def case(table: str, column: str, key: int, text: str | None) -> Case:
    if (table, column) in TIMESTAMP_COLUMNS:
        name = column.removesuffix("_at")
        day, _, rest = (None, "", None) if text is None else text.partition(" ")
        if text is not None and " " not in text:
            rest = text  # without a space, the model takes the whole text as time
        parts = {f"{name}_date": (day, DATE), f"{name}_time": (rest, TIME)}
    else:
        parts = {column: (text, COLUMN_TYPES[table, column])}
    columns = {
        name: (part, None if part is None else READERS[type_](part))
        for name, (part, type_) in parts.items()
    }
    return Case(table, column, key, text, columns)


def random_text(chance: Random, table: str, column: str) -> str | None:
    """Return a valid text, a valid text with a change, or any other text."""
    kind = chance.random()
    if kind < 0.03:
        return None
    if kind < 0.3:
        return chance.choice(EDGE_CASES)
    if kind < 0.45:
        return random_values.text(chance)
    day = date.fromordinal(
        chance.randint(date(1890, 1, 1).toordinal(), date(2210, 1, 1).toordinal())
    )
    time_ = random_values.DRAWS["time without time zone"](chance).rstrip("0").rstrip(".")
    cents = Decimal(chance.randint(-(10 ** chance.randint(1, 19)), 10 ** chance.randint(1, 19)))
    type_ = COLUMN_TYPES.get((table, column))
    text = {
        None: f"{day} {time_}",
        DATE: str(day),
        INTEGER: random_values.DRAWS["integer"](chance),
        BOOLEAN: chance.choice(("true", "false")),
    }.get(type_, f"{cents.scaleb(-chance.randint(0, 3)):f}")
    if kind < 0.7:
        place = chance.randrange(len(text) + 1)
        text = (
            text[:place]
            + chance.choice([*" +-.0:e1T\n", "٣", ""])
            + text[place + chance.randrange(2) :]
        )
    return text


def update_source(installation: Installation, cases: Sequence[Case]) -> None:
    """Write the texts into totesys, after changing the types of its columns to text."""
    with psycopg.connect(installation.owner.reveal()) as connection:
        for table, column in {(one.table, one.column) for one in cases}:
            names = sql.Identifier(table), sql.Identifier(column)
            connection.execute(
                sql.SQL(
                    "ALTER TABLE {0} ALTER {1} DROP DEFAULT, ALTER {1} TYPE text,"
                    " ALTER {1} DROP NOT NULL"
                ).format(*names)
            )
        for one in cases:
            connection.execute(
                sql.SQL("UPDATE {} SET {} = {} WHERE {} = {}").format(
                    sql.Identifier(one.table),
                    sql.Identifier(one.column),
                    one.text,
                    sql.Identifier(f"{one.table}_id"),
                    one.key,
                )
            )


def read_result(warehouse: psycopg.Connection, one: Case) -> object:
    """Return the row's values in the star, and the rejected column and value in quarantine."""
    loaded = warehouse.execute(
        sql.SQL("SELECT {} FROM {} WHERE {} = {}").format(
            sql.SQL(", ").join(map(sql.Identifier, one.columns)),
            sql.Identifier(f"fact_{one.table}"),
            sql.Identifier(f"{one.table}_id"),
            one.key,
        )
    ).fetchall()
    rejected = warehouse.execute(
        "SELECT column_name, value FROM totes.quarantine"
        " WHERE star_table = %s AND key = %s AND reason <> ''",
        [f"fact_{one.table}", str(one.key)],
    ).fetchall()
    return {"loaded": loaded, "rejected": rejected}


def expected_result(one: Case) -> object:
    if one.rejected:
        return {"loaded": [], "rejected": [one.rejected]}
    return {"loaded": [tuple(value for _, value in one.columns.values())], "rejected": []}


def test_any_text_is_loaded_unchanged_or_quarantined(installation: Installation) -> None:
    """With random texts in the columns of facts."""
    chance = seeded_random()
    installation.add_orders(150)
    cases = []
    for table in ("sales_order", "purchase_order", "payment"):
        columns = [name for source, name in (*COLUMN_TYPES, *TIMESTAMP_COLUMNS) if source == table]
        with psycopg.connect(installation.owner.reveal()) as connection:
            keys = connection.execute(f"SELECT {table}_id FROM {table} ORDER BY 1".encode())
            for (key,) in keys:
                column = chance.choice(columns)
                cases.append(case(table, column, key, random_text(chance, table, column)))
    update_source(installation, cases)
    installation.run()
    with psycopg.connect(installation.warehouse.reveal()) as warehouse:
        found = [(one, read_result(warehouse, one)) for one in cases]
    assert not [(one, got) for one, got in found if got != expected_result(one)]
    rejected = [bool(one.rejected) for one in cases]
    assert 0.2 < sum(rejected) / len(rejected) < 0.8, "some are accepted, some rejected"


# Values of typed columns

NATIVE: Mapping[tuple[str, str, str], Mapping[str, Any]] = {
    ("sales_order", "unit_price", "numeric"): {
        "0.00": Decimal(0),
        "-0.00": Decimal(0),  # PostgreSQL has no negative zero
        "1.1": Decimal("1.10"),
        "1.100000": Decimal("1.10"),
        "99999999.99": Decimal("99999999.99"),
        "-99999999.990": Decimal("-99999999.99"),
        "99999999.995": None,
        "100000000": None,
        "1.005": None,
        "1e-16383": None,
        "NaN": None,
        "Infinity": None,
    },
    ("sales_order", "units_sold", "bigint"): {
        "2147483647": 2**31 - 1,
        "-2147483648": -(2**31),
        "2147483648": None,
        "9223372036854775807": None,
    },
    ("payment", "payment_amount", "numeric(40,20)"): {
        "9999999999999999.99": Decimal("9999999999999999.99"),
        "-9999999999999999.99000000000000000000": Decimal("-9999999999999999.99"),
        "10000000000000000": None,
        "0.00000000000000000001": None,
    },
    ("purchase_order", "item_unit_price", "double precision"): {
        "0.1": Decimal("0.10"),
        "2.5": Decimal("2.50"),
        "-0": None,
        "1e20": None,
        "0.30000000000000004": None,
        "NaN": None,
        "4.9406564584124654e-324": None,
    },
    ("purchase_order", "agreed_payment_date", "date"): {
        "1900-01-01": date(1900, 1, 1),
        "2200-12-31": date(2200, 12, 31),
        "1899-12-31": None,
        "12023-01-01": None,
        "0044-03-15 BC": None,
        "infinity": None,
    },
    ("sales_order", "last_updated", "timestamp"): {
        "2024-02-29 23:59:59.999999": (date(2024, 2, 29), time(23, 59, 59, 999999)),
        "2024-02-29 00:00": (date(2024, 2, 29), time(0)),
        "1899-12-31 23:59:59.999999": None,
        "0044-03-15 12:00 BC": None,
        "294276-12-31 23:59:59.999999": None,
        "-infinity": None,
    },
}
"""By table, column and type in totesys: values, and their value in the star (None: rejected)."""


def test_values_at_the_limits_of_types_are_loaded_unchanged_or_quarantined(
    installation: Installation,
) -> None:
    installation.add_orders(60)
    next_key = dict.fromkeys(("sales_order", "purchase_order", "payment"), 1)
    expected = {}
    for (table, column, type_), values in NATIVE.items():
        installation.change(
            f"ALTER TABLE {table} ALTER {column} DROP DEFAULT,"
            f" ALTER {column} TYPE {type_} USING {column}::text::{type_}"
        )
        for value, star_value in values.items():
            key = next_key[table]
            next_key[table] += 1
            installation.change(f"UPDATE {table} SET {column} = '{value}' WHERE {table}_id = {key}")
            expected[table, column, key] = star_value
    installation.run()
    found = {}
    for table, column, key in expected:
        names = f"{column}_date, {column}_time" if column == "last_updated" else column
        loaded = installation.query(f"SELECT {names} FROM fact_{table} WHERE {table}_id = {key}")
        rejected = installation.query(
            f"SELECT column_name, value, reason FROM totes.quarantine"
            f" WHERE star_table = 'fact_{table}' AND key = '{key}'"
        )
        assert len(loaded) + len(rejected) == 1, (table, column, key)
        for name, value, reason in rejected:
            assert name.startswith(column)
            assert value is not None
            assert reason.startswith("is not ")
        values_ = loaded[0] if loaded else (None,)
        found[table, column, key] = values_ if len(values_) > 1 else values_[0]
    assert found == expected
    assert verify(installation.pipeline).equal


def test_labels_of_enums_are_loaded_unchanged_and_after_a_rename(
    installation: Installation,
) -> None:
    installation.add_orders(3)
    installation.change("""ALTER TYPE "PaymentTypeName" ADD VALUE 'it''s "new", \\ {é}'""")
    installation.change(
        "INSERT INTO payment_type (payment_type_name, last_updated)"
        " VALUES ('it''s \"new\", \\ {é}', now())"
    )
    installation.run()
    newest = "SELECT payment_type_name FROM dim_payment_type ORDER BY payment_type_id DESC LIMIT 1"
    assert installation.query(newest) == [('it\'s "new", \\ {é}',)]
    installation.change(
        """ALTER TYPE "PaymentTypeName" RENAME VALUE 'it''s "new", \\ {é}' TO '%s;--'"""
    )
    installation.run()
    assert installation.query(newest) == [("%s;--",)]


def test_characters_of_every_unicode_plane_are_loaded_into_every_text_column(
    installation: Installation,
) -> None:
    """With all characters of the first two blocks of 256, and one or more of each other block."""
    installation.add_orders(5)
    codes = [*range(1, 512), *range(512, 0x110000, 256), *range(0xFF, 0x110000, 0x1000)]
    text = "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    without_texts = {"dim_date", "dim_currency", "dim_payment_type", "dim_transaction"}
    columns = [
        (model, column)
        for model in TOTESYS.models.all
        if model.star.in_source and model.name not in without_texts
        for column in model.star.columns
        if column.type is VARCHAR
    ]
    assert len(columns) > 20
    with psycopg.connect(installation.owner.reveal()) as connection:
        for model, column in columns:
            for source in column_sources(model.sql, column.name, TOTESYS.tables):
                table, name = map(sql.Identifier, source.split("."))
                connection.execute(sql.SQL("UPDATE {} SET {} = {}").format(table, name, text))
    installation.run()
    for model, column in columns:
        found = installation.query(f"SELECT DISTINCT {column.quoted} FROM {model.name}")
        assert found == [(text,)], (model.name, column.name)
    assert verify(installation.pipeline).equal
