"""Amounts are converted exactly, whatever values the warehouse can store; none breaks a page."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal, localcontext
from importlib.resources import files

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from totes.dashboard.replica.tables import TABLES

DAY = date(2022, 11, 3)
LIMIT, MAXIMUM_RATE = 10**18, 10**6
"""Amounts and rates of so much count as not converted."""

PACKAGE = files("totes.dashboard")
RATES = st.decimals(Decimal("0.000001"), Decimal("999999999999.999999"), places=6)
UNITS = st.integers(-(2**31), 2**31 - 1)
PRICES = st.decimals(-(10**16) + 1, 10**16 - 1, places=2)
COLUMNS = "purchase_order_id, created_date, item_quantity, item_unit_price, currency_id"
SUMS = "SELECT exact(sum(high), sum(low)), count(*) FILTER (WHERE lacks_rate) FROM converted_order"


@pytest.fixture(scope="module")
def replica() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty replica, which reports in GBP."""
    with duckdb.connect() as engine:
        for table in TABLES.values():
            engine.execute(table.create)
        engine.execute(
            "INSERT INTO dim_currency (currency_id, currency_code) VALUES (1, 'GBP'), (2, 'USD')"
        )
        engine.execute((PACKAGE / "views.sql").read_text())
        yield engine


@given(
    own=RATES,
    quoted=RATES,
    lines=st.lists(st.tuples(UNITS, PRICES, st.sampled_from([1, 2])), min_size=1, max_size=5),
)
def test_sums_are_exact_and_huge_amounts_are_not_converted(
    replica: duckdb.DuckDBPyConnection,
    own: Decimal,
    quoted: Decimal,
    lines: list[tuple[int, Decimal, int]],
) -> None:
    replica.execute("DELETE FROM fact_exchange_rate")
    replica.execute("DELETE FROM fact_purchase_order")
    replica.executemany(
        "INSERT INTO fact_exchange_rate (rate_date, currency_code, rate) VALUES (?, ?, ?)",
        [(DAY, "GBP", own), (DAY, "USD", quoted)],
    )
    replica.executemany(
        f"INSERT INTO fact_purchase_order ({COLUMNS}) VALUES (?, ?, ?, ?, ?)",
        [(key, DAY, *line) for key, line in enumerate(lines)],
    )
    for name in ("keys", "rates"):
        replica.execute((PACKAGE / f"selection/{name}.sql").read_text())
    [(value, unconverted)] = replica.execute(SUMS).fetchall()
    with localcontext(prec=200):
        rate = round_half_up(own * 10**24 / quoted) / Decimal(10**24)
        converted = [
            amount
            for units, price, currency in lines
            if (currency == 1 or rate < MAXIMUM_RATE)
            and abs(units * price) < LIMIT
            and abs(amount := units * price * (1 if currency == 1 else rate)) < LIMIT
        ]
        assert unconverted == len(lines) - len(converted)
        if not converted:
            assert value is None
            return
        total = sum(converted, Decimal())
        assert abs(value - total) < Decimal("1e-14")
        assert round_half_up(value * 100) == round_half_up(total * 100)


def round_half_up(value: Decimal) -> Decimal:
    """Return the next integer, away from zero if two are as near."""
    return value.to_integral_value("ROUND_HALF_UP")
