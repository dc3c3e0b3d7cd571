"""Copy rows from DuckDB into PostgreSQL with binary COPY, which costs the server half of text COPY.

DuckDB computes the bytes of each row in SQL, and Python only forwards blocks. Casting an integer to
BIT and then to BLOB returns its bytes in network order, as PostgreSQL's binary format has them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import duckdb
from psycopg import Connection, sql

from totes.progress import Progress
from totes.sql_text import quote

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
ROWS_PER_BLOCK = 4096
"""The maximum number of rows in Python's memory."""


def copy_in(
    connection: Connection[Any],
    *,
    table: sql.Composable,
    columns: Iterable[str],
    blocks: Iterable[tuple[bytes, int]],
    progress: Progress,
) -> None:
    """Append rows to `table`: blocks in PostgreSQL's binary format, with their numbers of rows."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        copy.write(_HEADER)
        for block, rows in blocks:
            copy.write(block)
            progress.advance(rows)
        copy.write(_TRAILER)


def read_blocks(
    engine: duckdb.DuckDBPyConnection,
    columns: Mapping[str, str],
    rows: str,
    block_rows: int = ROWS_PER_BLOCK,
) -> Iterator[tuple[bytes, int]]:
    """Yield the result of DuckDB's query `rows` as blocks; `columns` are names and DuckDB types.

    `block_rows` is how many rows are read at a time: fewer than ROWS_PER_BLOCK if rows are wide.

    Types: INTEGER, BIGINT, BOOLEAN, DATE, TIME (which may be text), TIMESTAMPTZ, VARCHAR,
    DECIMAL(10,2), DECIMAL(18,2), DECIMAL(18,6).
    """
    result = engine.execute(f"select {_row(columns)} from ({rows})")
    while block := result.fetchmany(block_rows):
        yield b"".join(map(itemgetter(0), block)), len(block)


def _row(columns: Mapping[str, str]) -> str:
    """Return DuckDB SQL for one row in PostgreSQL's binary format."""
    count = _literal(len(columns).to_bytes(2))
    return _concat([count, *(_field(quote(n), kind) for n, kind in columns.items())])


def _field(value: str, kind: str) -> str:
    return f"coalesce({_ENCODERS[kind](value)}, {_NULL})"


def _concat(parts: Sequence[str]) -> str:
    """Concatenate in a balanced tree: a chain of `||` would copy its first part for each part."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_concat(parts[:middle])} || {_concat(parts[middle:])})"


def _bytes(integer: str) -> str:
    return f"cast(cast({integer} as bit) as blob)"


def _literal(content: bytes) -> str:
    escaped = "".join(f"\\x{byte:02X}" for byte in content)
    return f"'{escaped}'::blob"


def _length(size_bytes: int) -> str:
    return _literal(size_bytes.to_bytes(4, signed=True))


def _int4(value: str) -> str:
    """Return length and value as one 8-byte integer."""
    return _bytes(f"((cast({value} as bigint) & {0xFFFFFFFF}) + {4 << 32})")


def _int8(value: str) -> str:
    return f"({_length(8)} || {_bytes(value)})"


def _boolean(value: str) -> str:
    return f"({_length(1)} || {_bytes(f'cast({value} as tinyint)')})"


def _varchar(value: str) -> str:
    return f"({_bytes(f'cast(strlen({value}) as integer)')} || encode({value}))"


def _decimal(value: str, precision: int, scale: int) -> str:
    """Return a numeric with a fixed number of base-10000 digits before and after the decimal point.

    The fraction is padded with zeros to a multiple of four decimal digits.
    """
    before, after = -(-(precision - scale) // 4), -(-scale // 4)
    whole = f"cast(trunc(abs({value})) as bigint)"
    fraction = f"cast(abs({value}) % 1 as decimal({scale + 1}, {scale}))"
    fraction = f"cast({fraction} * {10 ** (4 * after)} as bigint)"
    sizes = (8 + 2 * (before + after)).to_bytes(4)
    head = sizes + (before + after).to_bytes(2) + (before - 1).to_bytes(2)
    ends = scale.to_bytes(2)
    positive, negative = (_literal(head + sign + ends) for sign in (b"\0\0", b"\x40\0"))
    return _concat(
        [
            f"case when {value} < 0 then {negative} else {positive} end",
            *_digits(whole, before),
            *_digits(fraction, after),
        ]
    )


def _digits(integer: str, places: int) -> Iterator[str]:
    """Yield an integer's base-10000 digits as bytes, highest first, in the fewest pieces."""
    while places:
        count = max(size for size in _INTEGERS if size <= places)
        lowest = places - count
        digits = " + ".join(
            f"({integer} // {10000 ** (lowest + place)} % 10000 << {16 * place})"
            for place in range(count)
        )
        yield _bytes(f"cast({digits} as {_INTEGERS[count]})")
        places = lowest


_NULL = _length(-1)

_INTEGERS = MappingProxyType({1: "smallint", 2: "integer", 4: "bigint"})
"""DuckDB's integer types by the number of base-10000 digits that they hold."""

_ENCODERS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "INTEGER": _int4,
        "BIGINT": _int8,
        "BOOLEAN": _boolean,
        "DATE": lambda value: _int4(f"({value} - date '2000-01-01')"),
        "TIME": lambda value: _int8(f"epoch_us(cast({value} as time))"),
        "TIMESTAMPTZ": lambda value: _int8(
            f"(epoch_us({value}) - epoch_us(timestamptz '2000-01-01 00:00:00+00'))"
        ),
        "VARCHAR": _varchar,
        "DECIMAL(10,2)": lambda value: _decimal(value, 10, 2),
        "DECIMAL(18,2)": lambda value: _decimal(value, 18, 2),
        "DECIMAL(18,6)": lambda value: _decimal(value, 18, 6),
    }
)
