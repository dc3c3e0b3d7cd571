"""Rows from DuckDB into PostgreSQL through binary COPY, which costs the server half of text.

DuckDB composes each row's bytes itself, so Python only passes blocks on. A cast to BIT and on to
BLOB gives an integer's bytes in network order, which is what PostgreSQL's binary format is made of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import duckdb
from psycopg import Connection, sql

from totes.progress import Progress
from totes.star.contract import quote

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
ROWS_PER_BLOCK = 4096
"""At most so many rows at a time are in Python's memory."""


def copy_in(  # noqa: PLR0913  two ends, what goes from one to the other, and who watches
    connection: Connection[Any],
    engine: duckdb.DuckDBPyConnection,
    *,
    table: sql.Composable,
    columns: Mapping[str, str],
    rows: str,
    progress: Progress,
    block_rows: int = ROWS_PER_BLOCK,
) -> None:
    """Append the result of DuckDB's query `rows` to `table`; `columns` are names and DuckDB types.

    `block_rows` are taken at a time, where rows are wide fewer than ROWS_PER_BLOCK.

    Types: INTEGER, BIGINT, BOOLEAN, DATE, TIME, TIMESTAMPTZ, VARCHAR, DECIMAL(10,2),
    DECIMAL(18,2), DECIMAL(18,6).
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    result = engine.execute(f"select {_row(columns)} from ({rows})")
    with connection.cursor().copy(statement) as copy:
        copy.write(_HEADER)
        while block := result.fetchmany(block_rows):
            copy.write(b"".join(map(itemgetter(0), block)))
            progress.advance(len(block))
        copy.write(_TRAILER)


def _row(columns: Mapping[str, str]) -> str:
    """DuckDB SQL: one row in PostgreSQL's binary format."""
    count = _literal(len(columns).to_bytes(2))
    return _concatenated([count, *(_field(quote(n), kind) for n, kind in columns.items())])


def _field(value: str, kind: str) -> str:
    return f"coalesce({_ENCODERS[kind](value)}, {_NULL})"


def _concatenated(parts: Sequence[str]) -> str:
    """Pairs of pairs: a chain of `||` would copy its beginning once for each part."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_concatenated(parts[:middle])} || {_concatenated(parts[middle:])})"


def _bytes(integer: str) -> str:
    return f"cast(cast({integer} as bit) as blob)"


def _literal(content: bytes) -> str:
    escaped = "".join(f"\\x{byte:02X}" for byte in content)
    return f"'{escaped}'::blob"


def _length(size_bytes: int) -> str:
    return _literal(size_bytes.to_bytes(4, signed=True))


def _int4(value: str) -> str:
    """Length and value in one integer of eight bytes."""
    return _bytes(f"((cast({value} as bigint) & {0xFFFFFFFF}) + {4 << 32})")


def _int8(value: str) -> str:
    return f"({_length(8)} || {_bytes(value)})"


def _boolean(value: str) -> str:
    return f"({_length(1)} || {_bytes(f'cast({value} as tinyint)')})"


def _varchar(value: str) -> str:
    return f"({_bytes(f'cast(strlen({value}) as integer)')} || encode({value}))"


def _decimal(value: str, precision: int, scale: int) -> str:
    """Digits in base 10000: as many as the precision needs before the point, and the scale after.

    The fraction has no whole number of them, so what is missing is made up with zeros.
    """
    before, after = -(-(precision - scale) // 4), -(-scale // 4)
    whole = f"cast(trunc(abs({value})) as bigint)"
    fraction = f"cast(abs({value}) % 1 as decimal({scale + 1}, {scale}))"
    fraction = f"cast({fraction} * {10 ** (4 * after)} as bigint)"
    sizes = (8 + 2 * (before + after)).to_bytes(4)
    head = sizes + (before + after).to_bytes(2) + (before - 1).to_bytes(2)
    ends = scale.to_bytes(2)
    positive, negative = (_literal(head + sign + ends) for sign in (b"\0\0", b"\x40\0"))
    return _concatenated(
        [
            f"case when {value} < 0 then {negative} else {positive} end",
            *_digits(whole, before),
            *_digits(fraction, after),
        ]
    )


def _digits(integer: str, places: int) -> Iterator[str]:
    """An integer's bytes in base 10000, the highest place first, in as few pieces as it goes."""
    while places:
        together = max(size for size in _INTEGERS if size <= places)
        lowest = places - together
        digits = " + ".join(
            f"({integer} // {10000 ** (lowest + place)} % 10000 << {16 * place})"
            for place in range(together)
        )
        yield _bytes(f"cast({digits} as {_INTEGERS[together]})")
        places = lowest


_NULL = _length(-1)

_INTEGERS = MappingProxyType({1: "smallint", 2: "integer", 4: "bigint"})
"""DuckDB's integers by how many digits in base 10000 they hold."""

_ENCODERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "INTEGER": _int4,
        "BIGINT": _int8,
        "BOOLEAN": _boolean,
        "DATE": lambda value: _int4(f"({value} - date '2000-01-01')"),
        "TIME": lambda value: _int8(f"epoch_us({value})"),
        "TIMESTAMPTZ": lambda value: _int8(
            f"(epoch_us({value}) - epoch_us(timestamptz '2000-01-01 00:00:00+00'))"
        ),
        "VARCHAR": _varchar,
        "DECIMAL(10,2)": lambda value: _decimal(value, 10, 2),
        "DECIMAL(18,2)": lambda value: _decimal(value, 18, 2),
        "DECIMAL(18,6)": lambda value: _decimal(value, 18, 6),
    }
)
