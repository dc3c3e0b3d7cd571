"""The queries of verify, which run on the rows of the source and of the warehouse.

A row's hash is that of `ROW(columns)` as PostgreSQL computes it: each column's hash h, combined as
`31 * (… 31 * h1 + h2 …) + hn`. On its own that would be too weak for a comparison:

- PostgreSQL's hash functions are made for hash tables: that of numeric ignores the sign, those of
  bigint and time fold 64 bits to 32, and that of text depends on the encoding. Such columns are
  hashed as the bytes that the server would send for them, with all 64 bits.
- The combination is linear, so two rows that exchange a value would keep the sum of their hashes.
  Each row therefore has a hash function of its own: the row's number is the seed.

The number is combined with a random seed of the run. Differences whose hashes happen to cancel out
in one run are found in the next, and values can't be chosen so that their hashes cancel out.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import LiteralString

from psycopg import sql
from psycopg.postgres import types

from totes.star.contract import AMOUNT, BIGINT, DATE, INTEGER, MONEY, Column, StarTable

type Digest = Callable[[StarTable], sql.Composable]
"""SQL for the digest of a group of rows, which does not depend on their order."""

_HASHABLE_BIGINT: LiteralString = "int8send({})"
"""What is hashed for integers of 64 bits, and for those that have 32 bits on one side."""

_INTEGERS = {types["int4"].oid, types["int8"].oid}

_HASHABLE: Mapping[int, LiteralString] = MappingProxyType(
    {
        types[name].oid: expression
        for name, expression in {
            "bool": "{}",
            "int4": "{}",
            "date": "{}",
            "int8": _HASHABLE_BIGINT,
            "numeric": "numeric_send({})",
            "time": "time_send({})",
        }.items()
    }
)
"""What is hashed for columns that have the same type on both sides, by the type's OID."""

_HASHABLE_TEXT: LiteralString = "textsend({}::text)"
"""What is hashed for other columns: the text, in the client's encoding, which is UTF-8."""

HASHES_OF_A_SAMPLE = sql.SQL(
    "SELECT hash_record_extended(ROW(true, 1234567, date '2024-02-29', int8send(-5000000000),"
    " numeric_send(-1234.5), time_send('23:59:59.999999'), textsend('over 12 bytes'), NULL::int),"
    " %(seed)s::bigint)"
)
"""The result differs between servers with different hash functions: between big-endian and
little-endian servers, and if a version of PostgreSQL changes a function."""


def hash_digest(source_types: Sequence[int], warehouse_types: Sequence[int]) -> Digest:
    """Return the digest for columns of these types, as OIDs: the sum of the hashes of all rows.

    Unlike with XOR, two equal rows do not cancel out. The sum is exact, as its type is numeric.
    """
    expressions = [*map(_hashable, source_types, warehouse_types)]

    def digest(star: StarTable) -> sql.Composable:
        values = (
            sql.SQL(expression).format(sql.Identifier(column.name))
            for column, expression in zip(star.columns, expressions, strict=True)
        )
        return sql.SQL("sum(hash_record_extended(ROW({}), {}::bigint # %(seed)s::bigint))").format(
            sql.SQL(", ").join(values), _number(star)
        )

    return digest


def _hashable(in_source: int, in_warehouse: int) -> LiteralString:
    if {in_source, in_warehouse} == _INTEGERS:
        return _HASHABLE_BIGINT
    return _HASHABLE.get(in_source, _HASHABLE_TEXT) if in_source == in_warehouse else _HASHABLE_TEXT


def text_digest(star: StarTable) -> sql.Composable:
    """Return the digest for servers whose hash functions differ: MD5 of the text, twice as slow."""
    return sql.SQL(
        "sum(('x' || left(md5(convert_to({}::text, 'UTF8')), 16))::bit(64)::bigint)"
    ).format(_texts(star))


def source_rows(star: StarTable, query: str) -> sql.Composable:
    """Return the expected rows, which the star's verify SQL selects in the source."""
    trusted = sql.SQL(query)  # from the star's folder, which is trusted
    return sql.SQL("({}) AS t ({})").format(trusted, _names(star))


def warehouse_rows(star: StarTable) -> sql.Composable:
    """Return the current rows: current versions of facts, and dimension rows not deleted."""
    columns = sql.SQL(", ").join(map(_without_trailing_zeros, star.columns))
    current = sql.SQL(
        "valid_to IS NULL"
        if star.is_fact
        else "NOT EXISTS (SELECT FROM totes.deleted_dimension_rows AS deleted"
        " WHERE deleted.table_name = %(star)s AND deleted.key = {key})"
    ).format(key=_key(star))
    return sql.SQL("(SELECT {} FROM {} WHERE {}) AS t ({})").format(
        columns, sql.Identifier(star.name), current, _names(star)
    )


def select_no_rows(rows: sql.Composable) -> sql.Composed:
    """Return a query that only has the types of the columns."""
    return sql.SQL("SELECT * FROM {} LIMIT 0").format(rows)


def select_digests(
    star: StarTable, buckets: int, rows: sql.Composable, digest: Digest
) -> sql.Composed:
    """Return a query for bucket, row count and digest."""
    return sql.SQL(
        "SELECT {bucket}, count(*), {digest} FROM {rows} WHERE {condition} GROUP BY 1"
    ).format(
        bucket=_bucket(star, buckets),
        digest=digest(star),
        rows=rows,
        condition=_not_quarantined(star),
    )


def select_rows(star: StarTable, buckets: int, rows: sql.Composable) -> sql.Composed:
    """Return a query for key and all columns as text of the rows in the buckets `shown`."""
    return sql.SQL(
        "SELECT {key}, {values} FROM {rows} WHERE {condition} AND {bucket} = ANY (%(shown)s)"
    ).format(
        bucket=_bucket(star, buckets),
        key=_key(star),
        values=_texts(star),
        rows=rows,
        condition=_not_quarantined(star),
    )


def _without_trailing_zeros(column: Column) -> sql.Composable:
    """Return a column; for decimals, without trailing zeros of the fraction."""
    name = sql.Identifier(column.name)
    return sql.SQL("trim_scale({})").format(name) if column.type in {MONEY, AMOUNT} else name


def _names(star: StarTable) -> sql.Composable:
    """Return the names of all columns, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in star.columns)


def _texts(star: StarTable) -> sql.Composable:
    """Return an SQL array of the text of all columns."""
    texts = (sql.SQL("{}::text").format(sql.Identifier(column.name)) for column in star.columns)
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(texts))


def _bucket(star: StarTable, buckets: int) -> sql.Composable:
    return sql.SQL("mod({}, {})").format(_number(star), buckets)


def _number(star: StarTable) -> sql.Composable:
    """Return SQL for a row's number: of an integer or a date its value, of other keys a hash."""
    key, *others = star.key
    if others or key.type not in {INTEGER, BIGINT, DATE}:
        return sql.SQL("('x' || left(md5(textsend({})), 15))::bit(60)::bigint").format(_key(star))
    name = sql.Identifier(key.name)
    return sql.SQL("({} - date '1900-01-01')").format(name) if key.type == DATE else name


def _key(star: StarTable) -> sql.Composable:
    """Return the natural key as one text, as bookkeeping tables store it."""
    parts = [sql.SQL("{}::text").format(sql.Identifier(name)) for name in star.key_names]
    if len(parts) == 1:
        return parts[0]
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(parts))


def _not_quarantined(star: StarTable) -> sql.Composable:
    return sql.SQL("{} <> ALL (%(quarantined)s)").format(_key(star))
