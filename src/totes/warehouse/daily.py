"""The daily totals in schema `totes`: sums over the facts' current rows, kept by the load.

What a batch changes in them is worked out from the keys it touches: their current rows as they
were before (taken away) and as they are after (added), whatever brought them there. The staff of a
payment is that of its order, so orders and transactions touch payments, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, LiteralString

import duckdb
from psycopg import Connection, sql

from totes.progress import QUIET
from totes.star.contract import StarTable
from totes.star.definition import TOTESYS
from totes.warehouse.binary import copy_in
from totes.warehouse.statement import statement


@dataclass(frozen=True)
class Daily:
    """A table of totals: what it is grouped by and what is summed, as its lines name it."""

    name: str
    keys: tuple[str, ...]
    sums: tuple[str, ...]
    only: LiteralString = "true"
    """Which of the lines; those without a key are none of them."""

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("totes", self.name)

    @property
    def parts(self) -> Mapping[str, sql.Composable]:
        """What the statements are composed of."""
        names = [*self.keys, *self.sums]
        return {
            "daily": self.table,
            "columns": _list("{}", names),
            "keys": _list("{}", self.keys),
            "sums": _list("sum({0}) AS {0}", self.sums),
            "signed": _list("sum(sign * {0}) AS {0}", self.sums),
            "only": sql.SQL(self.only),
            "same": _list("d.{0} = c.{0}", self.keys, " AND "),
            "added": _list("{0} = d.{0} + c.{0}", self.sums),
            "given": _list("c.{}", names),
            "count": sql.Identifier(self.sums[0]),
            "changes": _list("c.{} <> 0", self.sums, " OR "),
        }


def _list(
    pattern: LiteralString, names: Sequence[str], between: LiteralString = ", "
) -> sql.Composed:
    parts = (sql.SQL(pattern).format(sql.Identifier(name)) for name in names)
    return sql.SQL(between).join(parts)


@dataclass(frozen=True)
class Lines:
    """What tables of totals sum up: a line for each current row of `fact`, from `lines_of_NAME`.

    It is made of the rows of `others`, too, which change it by those of their columns.
    """

    name: str
    fact: str
    dailies: tuple[Daily, ...]
    others: Mapping[str, Sequence[str]] = MappingProxyType({})

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.fact, *self.others)

    @property
    def parts(self) -> Mapping[str, sql.Composable]:
        """What the statements are composed of."""
        return {
            "lines": statement(f"lines_of_{self.name}"),
            "key": sql.Identifier(TOTESYS.tables[self.fact].key_names[0]),
            "touched": sql.Identifier(f"touched_{self.name}"),
            "changed": sql.Identifier(f"changed_{self.name}"),
        }


_DAY = ("day", "currency_id")
_ORDERS = ("orders", "units", "value")
_PAYMENTS = ("payments", "value")
_OF_STAFF: LiteralString = "staff_id IS NOT NULL"
_DUE = ("paid", *_DAY, "payment_type_id", "due_at_once")


def _of_orders(name: str, *dimensions: str) -> tuple[Daily, ...]:
    """One table of all orders, and one by each of the dimensions."""
    each = (Daily(f"{name}_by_{d}", (*_DAY, f"{d}_id"), _ORDERS) for d in dimensions)
    return (Daily(name, _DAY, _ORDERS), *each)


LINES = (
    Lines(
        "sales_orders",
        "fact_sales_order",
        _of_orders("daily_sales", "counterparty", "staff", "location", "design"),
    ),
    Lines(
        "purchase_orders",
        "fact_purchase_order",
        _of_orders("daily_purchases", "counterparty", "staff"),
    ),
    Lines(
        "payments",
        "fact_payment",
        (
            Daily("daily_payments", _DUE, _PAYMENTS),
            Daily("daily_payments_by_counterparty", ("counterparty_id", *_DUE), _PAYMENTS),
        ),
    ),
    Lines(
        "payments_of_staff",
        "fact_payment",
        (
            Daily("daily_payments_by_staff", ("staff_id", *_DUE), _PAYMENTS, _OF_STAFF),
            Daily(
                "daily_payments_by_staff_by_counterparty",
                ("staff_id", "counterparty_id", *_DUE),
                _PAYMENTS,
                _OF_STAFF,
            ),
        ),
        others=MappingProxyType(
            {
                "dim_transaction": ("sales_order_id", "purchase_order_id"),
                "fact_sales_order": ("sales_staff_id",),
                "fact_purchase_order": ("staff_id",),
            }
        ),
    ),
)
"""All totals, by what they sum up."""

NAMES = tuple(daily.name for lines in LINES for daily in lines.dailies)


def fill(
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    filled: Mapping[str, str | None],
) -> None:
    """Make the totals of the star tables that had no rows before.

    Each is `filled` with the result of a query of DuckDB's, if that is all it now holds; DuckDB
    then sums up, some times faster than the warehouse does where that isn't known.
    """
    connection.execute(_FEW_STATISTICS)
    for lines in LINES:
        if filled.keys().isdisjoint(lines.sources):
            continue
        queries = {name: query for name in lines.sources if (query := filled.get(name))}
        known = _read(engine, lines, queries)
        for daily in lines.dailies:
            if lines.fact not in filled:  # its rows were there before
                connection.execute(sql.SQL("DELETE FROM {}").format(daily.table))
            if not (known and _copy(connection, engine, lines, daily)):
                connection.execute(statement("fill_daily", **lines.parts, **daily.parts))
            connection.execute(sql.SQL("ANALYZE {}").format(daily.table))
    connection.execute("SET LOCAL default_statistics_target TO DEFAULT")


_FEW_STATISTICS = "SET LOCAL default_statistics_target = 10"
"""The totals are small and even."""


def _read(engine: duckdb.DuckDBPyConnection, lines: Lines, queries: Mapping[str, str]) -> bool:
    """Let DuckDB know the lines; what is joined is joined once for all totals of it."""
    if len(queries) < len(lines.sources):
        return False
    for name, query in queries.items():
        current = name.replace("fact_", "current_")
        engine.execute(f"create or replace temporary view {current} as {query}")
    kind = "table" if lines.others else "view"
    select = lines.parts["lines"].as_string()
    engine.execute(f"create or replace temporary {kind} lines_of_{lines.name} as {select}")
    return True


def _copy(
    connection: Connection[Any], engine: duckdb.DuckDBPyConnection, lines: Lines, daily: Daily
) -> bool:
    """Sum up and copy; false where a sum has more digits than can be copied."""
    known = sql.SQL("SELECT * FROM {}").format(sql.Identifier(f"lines_of_{lines.name}"))
    select = statement("select_daily", **{**lines.parts, "lines": known}, **daily.parts)
    try:
        engine.execute(f"create or replace temporary table daily as {select.as_string()}")
    except duckdb.OutOfRangeException:  # PostgreSQL has no such bounds
        return False
    biggest = engine.execute("select coalesce(max(abs(value)), 0) from daily").fetchone()
    if biggest is None or biggest[0] >= _TOO_MUCH:
        return False
    columns = {name: _TYPES.get(name, "INTEGER") for name in (*daily.keys, *daily.sums)}
    cast = ", ".join(f"cast({name} as {kind}) as {name}" for name, kind in columns.items())
    with _without_keys(connection, daily):
        copy_in(
            connection,
            engine,
            table=daily.table,
            columns=columns,
            rows=f"select {cast} from daily order by all",
            progress=QUIET,
        )
    return True


@contextmanager
def _without_keys(connection: Connection[Any], daily: Daily) -> Iterator[None]:
    """A key is made faster of all rows than with each."""
    tables = [daily.table.as_string()]
    definitions = connection.execute(statement("definitions", tables=tables, stars=[])).fetchall()
    for _, take_down, _ in definitions:
        connection.execute(take_down.encode())
    yield
    for _, _, put_up in definitions:
        connection.execute(put_up.encode())


_TYPES = MappingProxyType(
    {
        "day": "DATE",
        "paid": "BOOLEAN",
        "due_at_once": "BOOLEAN",
        "orders": "BIGINT",
        "payments": "BIGINT",
        "units": "BIGINT",
        "value": "DECIMAL(18,2)",
    }
)
"""How the columns are copied; others are keys of dimensions."""

_TOO_MUCH = Decimal(10) ** 16


@dataclass(frozen=True)
class Changes:
    """What a batch changes in the totals: the current lines of the keys it touches.

    As they were before the first star that touches them, and as they are after the last.
    """

    connection: Connection[Any]
    _touched: set[str] = field(default_factory=set)

    def touch(self, star: StarTable, staged: sql.Identifier) -> None:
        """Note the lines that the staged rows of `star` may change, before they are placed."""
        for lines in LINES:
            if star.name in lines.sources:
                self._touch(lines, star, staged)

    def _touch(self, lines: Lines, star: StarTable, staged: sql.Identifier) -> None:
        parts = {**lines.parts, "star": star.name, "staged": staged}
        if lines.name not in self._touched:
            self.connection.execute(statement("make_changed", **parts))
            self._touched.add(lines.name)
        if star.name == lines.fact:
            touch = statement("touch", **parts)
        else:
            touch = statement(
                "touch_payments",
                **parts,
                its_key=sql.Identifier(star.key_names[0]),
                current=sql.Identifier(star.name.replace("fact_", "current_")),
                staged_columns=_list("staged.{}", lines.others[star.name]),
                current_columns=_list("known.{}", lines.others[star.name]),
            )
        if self.connection.execute(touch).rowcount:
            self.connection.execute(sql.SQL("ANALYZE {}").format(parts["touched"]))
            self.connection.execute(statement("note_lines_before", **parts))

    def settle(self, filled: AbstractSet[str]) -> None:
        """Bring the totals along, but for those that are made anew as their stars were `filled`."""
        for lines in LINES:
            if lines.name in self._touched and filled.isdisjoint(lines.sources):
                self.connection.execute(statement("note_lines_after", **lines.parts))
                self.connection.execute(sql.SQL("ANALYZE {}").format(lines.parts["changed"]))
                for daily in lines.dailies:
                    self.connection.execute(statement("change_daily", **lines.parts, **daily.parts))
