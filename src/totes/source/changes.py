"""SQL that reads a table: its changed rows as JSON Lines, in one scan.

PostgreSQL stores with every row version the id of the transaction that wrote it, `xmin`. Rows
written by transactions at or after a horizon have changed, whatever the application's own columns
contain. `xmin` has 32 bits and wraps around, so it is widened to 64 bits with the snapshot's xmax:
a visible row was written before xmax, and its distance from xmax modulo 2^32 gives the 64-bit id.

Values are composed as literals, not bound: a name in the source may contain a `%`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString, Self

import psycopg
from psycopg import sql

from totes.source.catalogue import INTEGER_TYPES, SourceTable
from totes.source.json_sql import (
    NO_COLUMNS,
    content_hash_sql,
    json_object_sql,
    json_parts,
    key_line_sql,
    key_names,
    line_sql,
    stored_bytes_sql,
)
from totes.source.ranges import RowRange, ctid_of, position_of, range_condition
from totes.source.unreadable import is_utf8, replace_unreadable

_WRAP = 1 << 32

_MAX_TRUSTED_AGE = 1 << 30
"""The largest distance, in transactions, for which age() is used: age() counts from now, not from
the snapshot, and is negative beyond 2^31."""

DISTANCE_SQL = "(({xmax} - {xmin}) & 4294967295)"
"""SQL, for PostgreSQL and DuckDB: how many transactions before `xmax` a row was written."""

_BUCKET_BITS = 6


@dataclass(frozen=True)
class Horizon:
    """Rows written by transaction `oldest_xid` or later have changed; `xmax` is the snapshot's.

    Both are 64-bit transaction ids.
    """

    oldest_xid: int
    xmax: int

    @property
    def distance(self) -> int:
        """The number of transactions from `oldest_xid` to `xmax`."""
        return self.xmax - self.oldest_xid


@dataclass(frozen=True)
class Chunk:
    """The rows of one range: all of them counted, the changed ones as JSON Lines.

    `rows` has the number of rows in each section; without a horizon, all are in the first one.
    `keys` has a line with key, `xmin` and `ctid` for each row in `lines`, in the same order:
    separated by commas if `has_integer_key`, otherwise JSON. It is empty where the table has no
    primary key.
    """

    rows: Mapping[int, int]
    changed: int
    lines: bytes
    keys: bytes
    content_hash: int
    """For a table without a primary key: the sum of its rows' hashes, else 0."""

    unreadable: bytes = b""
    """A JSON line for each value that could not be read: key columns, `column` and `reason`."""


def read_range(  # noqa: PLR0913  one parameter for each part of the statement
    connection: psycopg.Connection,
    table: SourceTable,
    xmax: int,
    horizon: Horizon | None,
    row_range: RowRange,
    *,
    max_bytes: int,
    unreadable: Mapping[str, str] = NO_COLUMNS,
) -> Chunk:
    """Read a range with one statement; all rows count as changed if `horizon` is None.

    `unreadable` maps columns to the JSON that replaces their values. Raises ProgramLimitExceeded if
    the rows have more than `max_bytes` as JSON.
    """
    # Text in SQL_ASCII may be any bytes. It is fetched as bytea and checked here; in binary format,
    # because the text format of bytea is twice as long.
    raw = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    query = _query(table, xmax, horizon, row_range, unreadable, raw=raw)
    limited = sql.SQL(
        "SELECT rows, changed, octet_length(lines)::text,"
        " CASE WHEN octet_length(lines) <= {} THEN lines END, keys, content FROM ({}) AS found"
    ).format(max_bytes, query)
    rows, changed, size, lines, keys, content = _fetch_bytes(
        connection.execute(limited, binary=True)
    )
    if int(size or 0) > max_bytes:
        raise psycopg.errors.ProgramLimitExceeded(f"{int(size)} bytes as JSON")
    unreadable_lines = b""
    if unreadable or not (is_utf8(lines) and is_utf8(keys)):
        if table.has_integer_key:
            as_json = _integers_as_json(table, keys)
            lines, _, unreadable_lines = replace_unreadable(lines, as_json)
        else:
            lines, keys, unreadable_lines = replace_unreadable(lines, keys)
    counts = dict(enumerate(map(int, rows.split(b",")), row_range.first_section))
    return Chunk(counts, int(changed), lines, keys, int(content or 0), unreadable_lines)


def _integers_as_json(table: SourceTable, keys: bytes) -> bytes:
    names = key_names(table)
    rows = (
        [int(text) if text else None for text in line.split(b",")[: len(names)]]
        for line in keys.split()
    )
    return b"\n".join(json.dumps(dict(zip(names, row, strict=True))).encode() for row in rows)


def _query(  # noqa: PLR0913  the parameters of read_range
    table: SourceTable,
    xmax: int,
    horizon: Horizon | None,
    row_range: RowRange,
    unreadable: Mapping[str, str],
    *,
    raw: bool,
) -> sql.Composed:
    names = {"table": from_item(table), "within": range_condition(row_range)}
    rows: sql.Composable = sql.SQL("count(*)")
    where = sql.SQL("{within}")
    if horizon:
        # Counted separately: a FILTER on each aggregate would test each row again.
        rows = _per_range_sql(
            table, row_range.section_bounds(), sql.SQL("count(*)::text"), ",", row_range.table_oid
        )
        where = sql.SQL("{within} AND {changed}")
        names["changed"] = _changed_condition(horizon)
    aggregate = sql.SQL(
        "string_agg(convert_to({}, 'SQL_ASCII'), decode('0a', 'hex'))"
        if raw
        else "string_agg({}, E'\\n')"
    )
    null = sql.SQL("NULL::text")
    return sql.SQL(
        "SELECT {rows}::text AS rows, count(*)::text AS changed, {lines} AS lines, {keys} AS keys,"
        " {content} AS content FROM {table} AS t WHERE {where}"
    ).format(
        rows=rows,
        lines=aggregate.format(line_sql(table, _xid_sql(xmax), unreadable)),
        keys=aggregate.format(key_line_sql(table, unreadable)) if table.key else null,
        content=null if table.key else content_hash_sql(table, unreadable),
        table=names["table"],
        where=where.format(**names),
    )


def _per_range_sql(
    table: SourceTable,
    bounds: Sequence[tuple[int, int]],
    value: sql.Composable,
    separator: str,
    table_oid: int | None = None,
) -> sql.Composable:
    """Return SQL for an aggregate over the rows of each range, with all results in one text."""
    within: sql.Composable = sql.SQL("t.ctid >= bounds.start AND t.ctid < bounds.stop")
    if table_oid is not None:
        within = sql.SQL("t.tableoid = {}::oid AND {}").format(table_oid, within)
    return sql.SQL(
        "(SELECT string_agg((SELECT {value} FROM {table} AS t WHERE {within}), {separator})"
        " FROM unnest({starts}::tid[], {stops}::tid[]) AS bounds (start, stop))"
    ).format(
        value=value,
        table=from_item(table),
        within=within,
        separator=sql.Literal(separator),
        starts=sql.Literal([ctid_of(start) for start, _ in bounds]),
        stops=sql.Literal([ctid_of(stop) for _, stop in bounds]),
    )


def find_wide_rows(
    connection: psycopg.Connection,
    table: SourceTable,
    horizon: Horizon | None,
    row_range: RowRange,
    min_bytes: int,
) -> list[tuple[int, int, int]]:
    """Return position, number and total bytes of the rows with more than `min_bytes` stored.

    No value is fetched. Rows of several partitions may have the same position.
    """
    where = [range_condition(row_range), *([_changed_condition(horizon)] if horizon else [])]
    rows = connection.execute(
        sql.SQL(
            "SELECT stored.ctid::text, count(*), sum(width)::bigint"
            " FROM (SELECT t.ctid, {width} AS width FROM {table} AS t WHERE {where}) AS stored"
            " WHERE width > {least} GROUP BY stored.ctid ORDER BY stored.ctid"
        ).format(
            width=sql.SQL(" + ").join([sql.SQL("0"), *map(stored_bytes_sql, table.columns)]),
            table=from_item(table),
            where=sql.SQL(" AND ").join(where),
            least=min_bytes,
        )
    ).fetchall()
    return [(position_of(ctid), count, width) for ctid, count, width in rows]


def find_row_positions(
    connection: psycopg.Connection, table: SourceTable, row_range: RowRange
) -> list[tuple[int, int]]:
    """Return the OID of the table or partition, and the position, of each row in a range."""
    query = sql.SQL("SELECT t.tableoid::bigint, t.ctid::text FROM {} AS t WHERE {}")
    rows = connection.execute(query.format(from_item(table), range_condition(row_range))).fetchall()
    return sorted((table_oid, position_of(ctid)) for table_oid, ctid in rows)


def evaluate_for_row(
    connection: psycopg.Connection,
    table: SourceTable,
    row_range: RowRange,
    expression: sql.Composable,
) -> object:
    """Return the value of an expression for the only row of a range."""
    query = sql.SQL("SELECT {} FROM {} AS t WHERE {}").format(
        expression, from_item(table), range_condition(row_range)
    )
    [(value,)] = connection.execute(query).fetchall()
    return value


@dataclass(frozen=True)
class Bucketing:
    """A function from keys to buckets, the same in PostgreSQL and in DuckDB.

    A bucket holds runs of 64 consecutive integers, whose rows are usually stored together. Other
    keys are assigned by the first digits of their text's MD5.
    """

    integer: bool
    buckets: int

    @classmethod
    def for_table(cls, table: SourceTable, rows: int) -> Self:
        """Return buckets of about 64 keys, so that a check for uniqueness reads few keys."""
        integer = len(table.key) == 1 and table.key_columns[0].base in INTEGER_TYPES
        return cls(integer, min(max(rows >> _BUCKET_BITS, 1), 1 << 16))

    @property
    def sql_type(self) -> LiteralString:
        """The SQL type of a bucket's id."""
        return "bigint" if self.integer else "text"

    def bucket_sql(self, keys: Sequence[str]) -> str:
        """Return SQL for the bucket's id of a key whose columns are the SQL expressions `keys`."""
        if self.integer:
            return f"cast(({keys[0]} >> {_BUCKET_BITS}) % {self.buckets} AS bigint)"
        digits = (self.buckets.bit_length() + 3) // 4
        return f"left(md5(concat_ws(chr(31), {', '.join(keys)})), {digits})"


def read_keys(
    connection: psycopg.Connection, table: SourceTable, row_ranges: Sequence[RowRange]
) -> bytes:
    """Return the keys of the rows in some ranges, as in Chunk."""
    keys = sql.SQL("string_agg({}, E'\\n')").format(key_line_sql(table, NO_COLUMNS))
    query = sql.SQL("SELECT {}").format(
        _per_range_sql(table, [one.bounds for one in row_ranges], keys, "\n")
    )
    return _fetch_bytes(connection.execute(query))[0]


def find_shared_key(
    connection: psycopg.Connection,
    table: SourceTable,
    bucketing: Bucketing,
    bucket_ids: list[str | int],
) -> tuple[str, list[str]] | None:
    """Return a key in these buckets that several rows have, as JSON, and the rows' tables."""
    return connection.execute(
        sql.SQL(
            "SELECT {key}, array_agg(DISTINCT t.tableoid::regclass::text) FROM {table} AS t"
            " WHERE {bucket} = ANY({bucket_ids}::{array_type})"
            " GROUP BY 1 HAVING count(*) > 1 LIMIT 1"
        ).format(
            key=json_object_sql(
                [(column.name, json_parts(column)) for column in table.key_columns]
            ),
            table=from_item(table),
            bucket=_bucket_expression(table, bucketing),
            bucket_ids=sql.Literal(bucket_ids),
            array_type=sql.SQL(bucketing.sql_type) + sql.SQL("[]"),
        )
    ).fetchone()


def _bucket_expression(table: SourceTable, bucketing: Bucketing) -> sql.Composable:
    # The text must be the same as in json_parts(). concat_ws() converts other types itself.
    columns = [
        sql.SQL("t.{}::text" if column.kind == "boolean" else "t.{}").format(
            sql.Identifier(column.name)
        )
        for column in table.key_columns
    ]
    return sql.SQL(bucketing.bucket_sql(["{}"] * len(columns))).format(*columns)


def _fetch_bytes(cursor: psycopg.Cursor) -> list[bytes]:
    """Return the only row, not decoded: decoding JSON would take longer than compressing it."""
    result = cursor.pgresult
    if result is None:  # only after close()
        raise AssertionError
    values = [result.get_value(0, column) or b"" for column in range(result.nfields)]
    result.clear()  # frees its memory before the next result arrives
    return values


def from_item(table: SourceTable) -> sql.Composable:
    """Return the table as an item of FROM or LOCK TABLE, with the rows of its members.

    A table without members is read with ONLY, because temporary children of other sessions may be
    locked.
    """
    name = sql.Identifier(table.schema, table.name)
    return name if table.members else sql.SQL("ONLY {}").format(name)


def _changed_condition(horizon: Horizon) -> sql.Composable:
    exact = _changed_exactly(horizon)
    if horizon.distance >= _MAX_TRUSTED_AGE:
        return exact
    # Four times cheaper than the exact test alone. It never excludes a changed row: a row whose age
    # has wrapped to a negative number passes, and the exact test decides. A subquery, because
    # PostgreSQL would otherwise compute the horizon's age() for each row.
    oldest_xid = str(horizon.oldest_xid % _WRAP)
    return sql.SQL("age(t.xmin) <= (SELECT age({}::xid)) AND {}").format(oldest_xid, exact)


def _changed_exactly(horizon: Horizon) -> sql.Composable:
    return sql.SQL("{} <= {}").format(_distance_sql(horizon.xmax), horizon.distance)


def _distance_sql(xmax: int) -> sql.Composable:
    return sql.SQL(DISTANCE_SQL).format(
        xmax=sql.Literal(xmax), xmin=sql.SQL("t.xmin::text::bigint")
    )


def _xid_sql(xmax: int) -> sql.Composable:
    return sql.SQL("{} - {}").format(sql.Literal(xmax), _distance_sql(xmax))
