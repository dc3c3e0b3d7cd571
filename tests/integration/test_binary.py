"""Binary COPY from DuckDB to PostgreSQL copies every value of every type of the contract."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from depth import drawn
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from conftest import EmptyWarehouse
from totes.duckdb_engine import open_engine
from totes.progress import NO_PROGRESS
from totes.sql_text import literal
from totes.warehouse import records
from totes.warehouse.binary import copy_in, read_blocks

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
LIMITS: list[tuple[Any, ...]] = [
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


def insert_rows(engine: duckdb.DuckDBPyConnection, rows: list[tuple[Any, ...]]) -> None:
    names = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    engine.execute(f"CREATE TEMPORARY TABLE source_rows ({names}, n INTEGER)")
    for number, row in enumerate(rows):
        engine.execute(
            f"INSERT INTO source_rows VALUES ({', '.join('?' * (len(row) + 1))})", [*row, number]
        )


def copy_rows(
    to: EmptyWarehouse, scratch: Path, rows: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Copy rows from DuckDB to PostgreSQL; return them as PostgreSQL has them."""
    target = ", ".join(
        f"{name} {TYPES[kind][0]}" for name, kind in {**COLUMNS, "n": "INTEGER"}.items()
    )
    with (
        open_engine(scratch) as engine,
        psycopg.connect(to.dsn.reveal(), options="-c TimeZone=UTC") as connection,
    ):
        insert_rows(engine, rows)
        connection.execute(f"CREATE TEMPORARY TABLE copied_rows ({target})".encode())
        columns = {**COLUMNS, "n": "INTEGER"}
        copy_in(
            connection,
            table=sql.Identifier("copied_rows"),
            columns=columns,
            blocks=read_blocks(engine, columns, "from source_rows"),
            progress=NO_PROGRESS,
        )
        found = connection.execute("SELECT * FROM copied_rows ORDER BY n").fetchall()
    return [row[:-1] for row in found]


def test_the_limits_of_every_type_are_copied(warehouse: EmptyWarehouse, tmp_path: Path) -> None:
    assert copy_rows(warehouse, tmp_path, LIMITS) == LIMITS


@given(rows=ROWS)
@settings(max_examples=drawn(10, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_is_copied(
    warehouse: EmptyWarehouse, tmp_path: Path, rows: list[tuple[Any, ...]]
) -> None:
    assert copy_rows(warehouse, tmp_path, rows) == rows


@given(rows=ROWS, block_bytes=st.sampled_from((1, 1000, 10**6)))
@example(rows=LIMITS, block_bytes=500)
@settings(max_examples=drawn(10, 100), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numpy_composes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[tuple[Any, ...]], block_bytes: int
) -> None:
    columns = {name: kind for name, kind in COLUMNS.items() if kind != "VARCHAR"} | {"n": "INTEGER"}
    monkeypatch.setattr(records, "_BLOCK_BYTES", block_bytes)
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    with open_engine(tmp_path) as engine:
        insert_rows(engine, rows)
        for path in paths:
            engine.execute(
                f"COPY (FROM source_rows ORDER BY n) TO {literal(path)} (row_group_size 3)"
            )
        expected = list(read_blocks(engine, columns, "from source_rows order by n", 1))
        found = list(records.read_blocks(engine, columns, paths))
    assert b"".join(block for block, _ in found) == b"".join(block for block, _ in expected) * 2
    assert sum(count for _, count in found) == 2 * len(rows)
