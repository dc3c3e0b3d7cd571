"""Rows from DuckDB to PostgreSQL: every value of every type of the contract arrives as it was."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from depth import drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from conftest import EmptyWarehouse
from totes.engine import open_engine
from totes.progress import QUIET
from totes.warehouse.binary import copy_in

TYPES = {
    "INTEGER": ("integer", st.integers(-(2**31), 2**31 - 1)),
    "BOOLEAN": ("boolean", st.booleans()),
    "DATE": ("date", st.dates(date(1900, 1, 1), date(2200, 12, 31))),
    "TIME": ("time", st.times()),
    "TIMESTAMPTZ": (
        "timestamptz",
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  Hypothesis adds the zone
    ),
    "VARCHAR": ("varchar", st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
    "DECIMAL(10,2)": (
        "numeric(10,2)",
        st.decimals(Decimal("-99999999.99"), Decimal("99999999.99"), places=2),
    ),
    "DECIMAL(18,2)": (
        "numeric",
        st.decimals(Decimal("-9999999999999999.99"), Decimal("9999999999999999.99"), places=2),
    ),
    "DECIMAL(18,6)": (
        "numeric",
        st.decimals(Decimal("-999999999999.999999"), Decimal("999999999999.999999"), places=6),
    ),
    "BIGINT": ("bigint", st.integers(-(2**63), 2**63 - 1)),
}
COLUMNS = {f"c{number}": kind for number, kind in enumerate(TYPES)}
ROWS = st.lists(
    st.tuples(*[st.none() | values for _, values in TYPES.values()]), min_size=1, max_size=20
)
EXTREMES: list[tuple[Any, ...]] = [
    (
        -(2**31),
        False,
        date(1900, 1, 1),
        time(0),
        datetime(1900, 1, 1, 3, 4, 5, 123456, tzinfo=UTC),
        "",
        Decimal("-99999999.99"),
        Decimal("-9999999999999999.99"),
        Decimal("-999999999999.999999"),
        -(2**63),
    ),
    (
        2**31 - 1,
        True,
        date(2200, 12, 31),
        time(23, 59, 59, 999999),
        datetime(2200, 1, 1, tzinfo=UTC),
        '\\N \\x00 "O\'Keefe",\t\r\n 𝔘ñï',
        Decimal("99999999.99"),
        Decimal("9999999999999999.99"),
        Decimal("999999999999.999999"),
        2**63 - 1,
    ),
    (
        0,
        False,
        date(2000, 1, 1),
        time(0, 0, 0, 1),
        datetime(2000, 1, 1, tzinfo=UTC),
        " ",
        Decimal("-0.01"),
        Decimal("0.00"),
        Decimal("0.000001"),
        -1,
    ),
    (None,) * 10,
]


def copied(to: EmptyWarehouse, scratch: Path, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows after their way through DuckDB and binary COPY."""
    names = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    target = ", ".join(
        f"{name} {TYPES[kind][0]}" for name, kind in {**COLUMNS, "n": "INTEGER"}.items()
    )
    with (
        open_engine(scratch) as engine,
        psycopg.connect(to.dsn.reveal(), options="-c TimeZone=UTC") as connection,
    ):
        engine.execute(f"CREATE TEMPORARY TABLE given ({names}, n INTEGER)")
        for number, row in enumerate(rows):
            engine.execute(
                f"INSERT INTO given VALUES ({', '.join('?' * (len(row) + 1))})", [*row, number]
            )
        connection.execute(f"CREATE TEMPORARY TABLE taken ({target})".encode())
        copy_in(
            connection,
            engine,
            table=sql.Identifier("taken"),
            columns={**COLUMNS, "n": "INTEGER"},
            rows="from given",
            progress=QUIET,
        )
        found = connection.execute("SELECT * FROM taken ORDER BY n").fetchall()
    return [row[:-1] for row in found]


def test_the_extremes_arrive(warehouse: EmptyWarehouse, tmp_path: Path) -> None:
    assert copied(warehouse, tmp_path, EXTREMES) == EXTREMES


@given(rows=ROWS)
@settings(max_examples=drawn(15, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_arrives(
    warehouse: EmptyWarehouse, tmp_path: Path, rows: list[tuple[Any, ...]]
) -> None:
    assert copied(warehouse, tmp_path, rows) == rows
