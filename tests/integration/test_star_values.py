"""From totesys to the warehouse, a value arrives exactly as it was, or its row is set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import random_values
from installation import Installation
from psycopg import sql
from scratch_source import seeded
from star_texts import HOSTILE, ORACLES, Oracle

from totes.operations.verify import verify
from totes.star.contract import AMOUNT, BOOLEAN, DATE, INTEGER, MONEY, TIME, VARCHAR, Type
from totes.star.definition import TOTESYS

TYPED: Mapping[tuple[str, str], Type] = {
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
"""Columns of totesys, and the star's type for them."""

MOMENTS = (("sales_order", "created_at"), ("payment", "last_updated"))
"""Columns that become a date and a time."""


WORTH: Mapping[str, Oracle] = {VARCHAR.name: str} | {one.name: oracle for one, oracle in ORACLES}


@dataclass(frozen=True)
class Case:
    """A row of totesys with one odd text, and what is to become of it.

    `found` are the star's columns with what they are worth; the first of them to be worth None is
    why the row is refused.
    """

    table: str
    column: str
    key: int
    text: str | None
    found: Mapping[str, tuple[str | None, Any]]

    @property
    def refused(self) -> tuple[str, str | None] | None:
        for column, (text, value) in self.found.items():
            if value is None:
                return column, text
        return None


def case(table: str, column: str, key: int, text: str | None) -> Case:
    if (table, column) in MOMENTS:
        name = column.removesuffix("_at")
        day, _, rest = (None, "", None) if text is None else text.partition(" ")
        if text is not None and " " not in text:
            rest = text  # what comes after no blank is all of it
        parts = {f"{name}_date": (day, DATE), f"{name}_time": (rest, TIME)}
    else:
        parts = {column: (text, TYPED[table, column])}
    found = {
        name: (part, None if part is None else WORTH[type_.name](part))
        for name, (part, type_) in parts.items()
    }
    return Case(table, column, key, text, found)


def random_text(chance: Random, table: str, column: str) -> str | None:
    """Good ones, good ones with a blemish, and anything else."""
    kind = chance.random()
    if kind < 0.03:
        return None
    if kind < 0.3:
        return chance.choice(HOSTILE)
    if kind < 0.45:
        return random_values.text(chance)
    day = date.fromordinal(
        chance.randint(date(1890, 1, 1).toordinal(), date(2210, 1, 1).toordinal())
    )
    time_ = random_values.DRAWS["time without time zone"](chance).rstrip("0").rstrip(".")
    cents = Decimal(chance.randint(-(10 ** chance.randint(1, 19)), 10 ** chance.randint(1, 19)))
    type_ = TYPED.get((table, column))
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


def arrange(installation: Installation, cases: Sequence[Case]) -> None:
    """Put the texts into totesys, whose columns are made to take them."""
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


def outcome(warehouse: psycopg.Connection, one: Case) -> object:
    """The star's values of that row, and why it was refused."""
    loaded = warehouse.execute(
        sql.SQL("SELECT {} FROM {} WHERE {} = {}").format(
            sql.SQL(", ").join(map(sql.Identifier, one.found)),
            sql.Identifier(f"fact_{one.table}"),
            sql.Identifier(f"{one.table}_id"),
            one.key,
        )
    ).fetchall()
    refused = warehouse.execute(
        "SELECT column_name, value FROM totes.quarantine"
        " WHERE star_table = %s AND key = %s AND reason <> ''",
        [f"fact_{one.table}", str(one.key)],
    ).fetchall()
    return {"loaded": loaded, "refused": refused}


def expected(one: Case) -> object:
    if one.refused:
        return {"loaded": [], "refused": [one.refused]}
    return {"loaded": [tuple(value for _, value in one.found.values())], "refused": []}


def test_any_text_is_loaded_exactly_or_set_aside(installation: Installation) -> None:
    """Random texts in every column of the facts."""
    chance = seeded()
    installation.filled(150)
    cases = []
    for table in ("sales_order", "purchase_order", "payment"):
        columns = [name for source, name in (*TYPED, *MOMENTS) if source == table]
        with psycopg.connect(installation.owner.reveal()) as connection:
            keys = connection.execute(f"SELECT {table}_id FROM {table} ORDER BY 1".encode())
            for (key,) in keys:
                column = chance.choice(columns)
                cases.append(case(table, column, key, random_text(chance, table, column)))
    arrange(installation, cases)
    installation.run()
    with psycopg.connect(installation.warehouse.reveal()) as warehouse:
        found = [(one, outcome(warehouse, one)) for one in cases]
    assert not [(one, got) for one, got in found if got != expected(one)]
    shares = [bool(one.refused) for one in cases]
    assert 0.2 < sum(shares) / len(shares) < 0.8, "both must happen"


# Values of the source's own types

NATIVE: Mapping[tuple[str, str, str], Mapping[str, Any]] = {
    ("sales_order", "unit_price", "numeric"): {
        "0.00": Decimal(0),
        "-0.00": Decimal(0),  # as PostgreSQL itself has it
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
"""Table, column and its type there: values, and what the star makes of them (None: refused)."""


def test_values_at_the_edges_of_types_are_loaded_exactly_or_set_aside(
    installation: Installation,
) -> None:
    installation.filled(60)
    next_key = dict.fromkeys(("sales_order", "purchase_order", "payment"), 1)
    expected = {}
    for (table, column, type_), values in NATIVE.items():
        installation.change(
            f"ALTER TABLE {table} ALTER {column} DROP DEFAULT,"
            f" ALTER {column} TYPE {type_} USING {column}::text::{type_}"
        )
        for value, worth_ in values.items():
            key = next_key[table]
            next_key[table] += 1
            installation.change(f"UPDATE {table} SET {column} = '{value}' WHERE {table}_id = {key}")
            expected[table, column, key] = worth_
    installation.run()
    found = {}
    for table, column, key in expected:
        names = f"{column}_date, {column}_time" if column == "last_updated" else column
        loaded = installation.ask(f"SELECT {names} FROM fact_{table} WHERE {table}_id = {key}")
        refused = installation.ask(
            f"SELECT column_name, value, reason FROM totes.quarantine"
            f" WHERE star_table = 'fact_{table}' AND key = '{key}'"
        )
        assert len(loaded) + len(refused) == 1, (table, column, key)
        for name, value, reason in refused:
            assert name.startswith(column)
            assert value is not None
            assert reason.startswith("is not ")
        got = loaded[0] if loaded else (None,)
        found[table, column, key] = got if len(got) > 1 else got[0]
    assert found == expected
    assert verify(installation.pipeline).equal


def test_labels_of_enums_arrive_as_they_are_also_when_renamed(installation: Installation) -> None:
    installation.filled(3)
    installation.change("""ALTER TYPE "PaymentTypeName" ADD VALUE 'it''s "new", \\ {é}'""")
    installation.change(
        "INSERT INTO payment_type (payment_type_name, last_updated)"
        " VALUES ('it''s \"new\", \\ {é}', now())"
    )
    installation.run()
    newest = "SELECT payment_type_name FROM dim_payment_type ORDER BY payment_type_id DESC LIMIT 1"
    assert installation.ask(newest) == [('it\'s "new", \\ {é}',)]
    installation.change(
        """ALTER TYPE "PaymentTypeName" RENAME VALUE 'it''s "new", \\ {é}' TO '%s;--'"""
    )
    installation.run()
    assert installation.ask(newest) == [("%s;--",)]


def test_strings_of_every_plane_arrive_in_every_text_of_the_star(
    installation: Installation,
) -> None:
    """One character of each block of 256, surrogates aside, and all of the first two blocks."""
    installation.filled(5)
    codes = [*range(1, 512), *range(512, 0x110000, 256), *range(0xFF, 0x110000, 0x1000)]
    text = "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)
    texts = {
        "staff": ("first_name", "last_name", "email_address"),
        "department": ("department_name", "location"),
        "design": ("design_name", "file_location", "file_name"),
        "counterparty": ("counterparty_legal_name",),
        "address": (
            *("address_line_1", "address_line_2", "district", "city", "postal_code", "country"),
            "phone",
        ),
        "purchase_order": ("item_code",),
    }
    with psycopg.connect(installation.owner.reveal()) as connection:
        for table, columns in texts.items():
            for column in columns:
                names = sql.Identifier(table), sql.Identifier(column)
                query = sql.SQL("UPDATE {} SET {} = {}").format(*names, text)
                connection.execute(query)
    installation.run()
    for star in TOTESYS.tables.values():
        given = {"dim_date", "dim_currency", "dim_payment_type", "dim_transaction"}
        if star.name in given or not star.in_source:
            continue
        for held in star.columns:
            if held.type is VARCHAR:
                found = installation.ask(f"SELECT DISTINCT {held.quoted} FROM {star.name}")
                assert found == [(text,)], (star.name, held.name)
    assert verify(installation.pipeline).equal
