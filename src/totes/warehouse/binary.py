"""Rows from DuckDB into PostgreSQL through binary COPY, which costs the server half of text.

DuckDB composes each row's bytes itself, so Python only passes blocks on. A cast to BIT and on to
BLOB gives an integer's bytes in network order, which is what PostgreSQL's binary format is made of.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import duckdb
from psycopg import Connection, sql

from totes.progress import Progress
from totes.star.contract import quote

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROWS_PER_BLOCK = 4096


def copy_in(  # noqa: PLR0913  two ends, what goes from one to the other, and who watches
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    *,
    table: sql.Identifier,
    columns: Mapping[str, str],
    rows: str,
    progress: Progress,
) -> None:
    """Append the result of DuckDB's query `rows` to `table`; `columns` are names and DuckDB types.

    Types: INTEGER, BOOLEAN, DATE, TIME, TIMESTAMPTZ, VARCHAR and DECIMAL(n,2) up to 18 digits.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    result = engine.execute(f"select {_row(columns)} from ({rows})")
    with connection.cursor().copy(statement) as copy:
        copy.write(_HEADER)
        while block := result.fetchmany(_ROWS_PER_BLOCK):
            copy.write(b"".join(map(itemgetter(0), block)))
            progress.advance(len(block))
        copy.write(_TRAILER)


def _row(columns: Mapping[str, str]) -> str:
    """DuckDB SQL: one row in PostgreSQL's binary format."""
    count = _bytes(f"cast({len(columns)} as smallint)")
    return _concatenated([count, *(_field(quote(n), kind) for n, kind in columns.items())])


def _field(value: str, kind: str) -> str:
    encode = _decimal if kind.startswith("DECIMAL") else _ENCODERS[kind]
    return f"coalesce({encode(value)}, {_NULL})"


def _concatenated(parts: Sequence[str]) -> str:
    """Pairs of pairs: a chain of `||` would copy its beginning once for each part."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_concatenated(parts[:middle])} || {_concatenated(parts[middle:])})"


def _bytes(integer: str) -> str:
    return f"cast(cast({integer} as bit) as blob)"


def _length(size_bytes: int) -> str:
    return _bytes(f"{size_bytes}::integer")


def _int4(value: str) -> str:
    """Length and value in one integer of eight bytes."""
    return _bytes(f"((cast({value} as bigint) & {0xFFFFFFFF}) + {4 << 32})")


def _int8(value: str) -> str:
    return f"({_length(8)} || {_bytes(value)})"


def _boolean(value: str) -> str:
    return f"({_length(1)} || {_bytes(f'cast({value} as tinyint)')})"


def _varchar(value: str) -> str:
    return f"({_bytes(f'cast(strlen({value}) as integer)')} || encode({value}))"


def _decimal(value: str) -> str:
    """Five digits in base 10000, four of them before the point: sixteen decimal digits and two."""
    hundredths = f"cast(cast(abs({value}) as decimal(20, 2)) * 100 as bigint)"
    whole = " + ".join(
        f"(({hundredths} // {10 ** (4 * place + 2)} % 10000) << {16 * place})" for place in range(4)
    )
    fraction = f"cast({hundredths} % 100 * 100 as smallint)"
    sign = f"case when {value} < 0 then {0x4000} else 0 end"
    head = f"({18 << 32} + {5 << 16} + 3)"  # length, digits, weight of the first one
    tail = f"cast(({sign} << 16) + 2 as integer)"  # sign, digits shown after the point
    return _concatenated([_bytes(head), _bytes(tail), _bytes(f"({whole})"), _bytes(fraction)])


_NULL = _length(-1)

_ENCODERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "INTEGER": _int4,
        "BOOLEAN": _boolean,
        "DATE": lambda value: _int4(f"({value} - date '2000-01-01')"),
        "TIME": lambda value: _int8(f"epoch_us({value})"),
        "TIMESTAMPTZ": lambda value: _int8(
            f"(epoch_us({value}) - epoch_us(timestamptz '2000-01-01 00:00:00+00'))"
        ),
        "VARCHAR": _varchar,
    }
)
