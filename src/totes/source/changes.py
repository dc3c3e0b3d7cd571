"""The statements that read a table's rows: which changed, as JSON Lines, in one scan.

PostgreSQL stamps every row version with the transaction that wrote it, `xmin`. The rows written
by transactions at or after a horizon are what changed, whatever the application's own columns
say. `xmin` has 32 bits and wraps around, so it is widened against the snapshot's xmax: a visible
row was written before xmax, and its distance to it modulo 2^32 tells by how much.

Values are composed as literals, not bound: a name of the source may hold a `%`.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString, Self

import psycopg
from psycopg import sql

from totes.source.catalogue import SourceColumn, SourceTable

_Part = str | sql.Composable
"""Of what concat() puts together: text as it is, or an expression."""

_WRAP = 1 << 32

_FARTHEST = 1 << 30
"""Transactions back to which age() is trusted: it counts from now, not from the snapshot, and its
sign turns at 2^31."""

_ITEMS = 1 << 16
"""More than the rows of any block."""

DISTANCE = "(({current} - {xmin}) & 4294967295)"
"""How many transactions before `current` a row was written, in PostgreSQL and in DuckDB."""

XID = "_xid"

_BUCKET_BITS = 6

_ARGUMENTS = 96
"""How many arguments one call of concat() may have (PostgreSQL's limit is 100)."""

_UNESCAPED = frozenset(
    {"int8", "numeric", "float4", "float8", "timestamp", "timestamptz", "date", "time", "timetz"}
    | {"uuid", "oid"}
)
"""Types whose text never holds a character that JSON escapes."""

_INTEGERS = frozenset({"int2", "int4", "int8"})

_STRINGS = frozenset({"text", "varchar", "bpchar"})
"""Types that to_json() prints as they are; a cast to text would cut bpchar's blanks."""


@dataclass(frozen=True)
class Horizon:
    """Rows written by transaction `oldest` or later have changed; `current` is the snapshot's xmax.

    Both are 64-bit transaction numbers.
    """

    oldest: int
    current: int

    @property
    def distance(self) -> int:
        return self.current - self.oldest


@dataclass(frozen=True)
class Span:
    """A range of a table's row addresses, block * 2^16 + item, `end` exclusive.

    The `last` one of a table has no end: a storage of another kind may count rows its own way.
    """

    start: int
    end: int
    last: bool = False

    def halves(self) -> tuple["Span", "Span"]:
        middle = (self.start + self.end) // 2
        return Span(self.start, middle), Span(middle, self.end, self.last)


@dataclass(frozen=True)
class Chunk:
    """What one range held: all its rows counted, the changed ones as JSON Lines.

    `keys` are the key and the `xmin` of the same rows in the same order, empty without a key.
    """

    rows: int
    changed: int
    lines: bytes
    keys: bytes
    content: int
    """Order-free sum of row hashes, for a table without a key."""


def table_blocks(connection: psycopg.Connection, table: SourceTable) -> tuple[int, int]:
    """Blocks of the table (of its largest member), and bytes with all that is stored aside."""
    ((blocks, size_bytes),) = connection.execute(
        """
        SELECT coalesce(max(pg_relation_size(relid)), 0)
                   / current_setting('block_size')::bigint,
               coalesce(sum(pg_table_size(relid)), 0)::bigint
        FROM unnest(%s::oid[]) AS part(relid)
        """,
        [[table.oid, *table.members]],
    ).fetchall()
    return blocks, size_bytes


def split(blocks: int, step: int) -> Iterator[Span]:
    """The whole table in ranges of `step` blocks."""
    blocks = max(blocks, 1)
    for start in range(0, blocks, step):
        end = min(start + step, blocks)
        yield Span(start * _ITEMS, end * _ITEMS, last=end == blocks)


def read_changes(
    connection: psycopg.Connection,
    table: SourceTable,
    current: int,
    horizon: Horizon | None,
    span: Span,
) -> Iterator[Chunk]:
    """Read a range of rows; all of them count as changed where `horizon` is None.

    It comes in one chunk, unless that would pass the 1 GB of PostgreSQL's longest value.
    """
    try:
        with connection.transaction():  # a savepoint, to go on from after the error
            chunk = _read(connection.execute(_query(table, current, horizon, span)))
    except psycopg.errors.ProgramLimitExceeded:
        if span.end - span.start <= 1:
            raise
        for half in span.halves():
            yield from read_changes(connection, table, current, horizon, half)
    else:
        yield chunk


def _query(table: SourceTable, current: int, horizon: Horizon | None, span: Span) -> sql.Composed:
    names = {"table": relation(table), "within": _within(span)}
    rows, where = sql.SQL("count(*)"), sql.SQL("{within}")
    if horizon:
        # Counted apart: a FILTER on each aggregate would judge each row once more.
        rows = sql.SQL("(SELECT count(*) FROM {table} AS t WHERE {within})")
        where = sql.SQL("{within} AND {changed}")
        names["changed"] = _changed(horizon)
    return sql.SQL(
        "SELECT {rows}, count(*), string_agg({line}, E'\\n'), string_agg({key}, E'\\n'), {content}"
        " FROM {table} AS t WHERE {where}"
    ).format(
        rows=rows.format(**names),
        line=_line(table, current),
        key=_key(table) if table.key else sql.SQL("NULL"),
        content=_content(table) if not table.key else sql.SQL("NULL"),
        table=names["table"],
        where=where.format(**names),
    )


def _read(cursor: psycopg.Cursor) -> Chunk:
    rows, changed, lines, keys, content = _bytes(cursor)
    return Chunk(int(rows), int(changed), lines, keys, int(content or 0))


@dataclass(frozen=True)
class Bucketing:
    """Keys dealt into buckets, alike by PostgreSQL and by DuckDB.

    Integers go by runs of 64, which lie together in the table and so are counted at a stretch;
    any other key by the first digits of its text's MD5.
    """

    integer: bool
    buckets: int

    @classmethod
    def of(cls, table: SourceTable, rows: int) -> Self:
        """Buckets of about 64 keys: few to read for one deletion, and still a short list."""
        integer = len(table.key) == 1 and table.key_columns[0].base in _INTEGERS
        return cls(integer, min(max(rows >> _BUCKET_BITS, 1), 1 << 16))

    @property
    def type(self) -> LiteralString:
        """A bucket's type in SQL."""
        return "bigint" if self.integer else "text"

    def of_keys(self, keys: Sequence[str]) -> str:
        """The bucket of a key whose columns are the SQL expressions `keys`."""
        if self.integer:
            return f"cast(({keys[0]} >> {_BUCKET_BITS}) % {self.buckets} AS bigint)"
        digits = (self.buckets.bit_length() + 3) // 4
        return f"left(md5(concat_ws(chr(31), {', '.join(keys)})), {digits})"


def bucket_counts(
    connection: psycopg.Connection, table: SourceTable, bucketing: Bucketing
) -> dict[str | int, int]:
    """How many keys the source has in each bucket."""
    cursor = connection.execute(
        sql.SQL("SELECT {bucket}, count(*) FROM {table} AS t GROUP BY 1").format(
            bucket=_bucket(table, bucketing), table=relation(table)
        )
    )
    return dict(cursor.fetchall())


def keys_in_buckets(
    connection: psycopg.Connection,
    table: SourceTable,
    bucketing: Bucketing,
    chosen: list[str | int],
    span: Span,
) -> bytes:
    """The keys of the chosen buckets in a range of rows, as in Chunk but without `xmin`."""
    cursor = connection.execute(
        sql.SQL(
            "SELECT string_agg({keys}, E'\\n') FROM {table} AS t"
            " WHERE {within} AND {bucket} = ANY({chosen}::{buckets})"
        ).format(
            keys=_object(_key_members(table)),
            within=_within(span),
            table=relation(table),
            bucket=_bucket(table, bucketing),
            chosen=sql.Literal(chosen),
            buckets=sql.SQL(bucketing.type) + sql.SQL("[]"),
        )
    )
    return _bytes(cursor)[0]


def find_shared_key(
    connection: psycopg.Connection,
    table: SourceTable,
    bucketing: Bucketing,
    chosen: list[str | int],
) -> tuple[str, list[str]] | None:
    """A key in the chosen buckets that several rows have, as JSON, and the tables these are in."""
    return connection.execute(
        sql.SQL(
            "SELECT {key}, array_agg(DISTINCT t.tableoid::regclass::text) FROM {table} AS t"
            " WHERE {bucket} = ANY({chosen}::{buckets}) GROUP BY 1 HAVING count(*) > 1 LIMIT 1"
        ).format(
            key=_object([(column.name, _json(column)) for column in table.key_columns]),
            table=relation(table),
            bucket=_bucket(table, bucketing),
            chosen=sql.Literal(chosen),
            buckets=sql.SQL(bucketing.type) + sql.SQL("[]"),
        )
    ).fetchone()


def _bucket(table: SourceTable, bucketing: Bucketing) -> sql.Composable:
    # The text must be the one that _json() puts into the lines; concat_ws() prints by itself.
    columns = [
        sql.SQL("t.{}::text" if column.kind == "boolean" else "t.{}").format(
            sql.Identifier(column.name)
        )
        for column in table.key_columns
    ]
    return sql.SQL(bucketing.of_keys(["{}"] * len(columns))).format(*columns)


def _bytes(cursor: psycopg.Cursor) -> list[bytes]:
    """The only row as it came: decoding megabytes of JSON would cost more than the gzip."""
    result = cursor.pgresult
    if result is None:  # only after close()
        raise AssertionError
    values = [result.get_value(0, column) or b"" for column in range(result.nfields)]
    result.clear()  # not when the next one has come
    return values


def relation(table: SourceTable) -> sql.Composable:
    """The table in FROM or LOCK, with the rows of its members.

    ONLY where it has none, since temporary children of other sessions may be locked.
    """
    name = sql.Identifier(table.schema, table.name)
    return name if table.members else sql.SQL("ONLY {}").format(name)


def _within(span: Span) -> sql.Composable:
    start = sql.SQL("t.ctid >= {}::tid").format(_address(span.start))
    if span.last:
        return start
    return sql.SQL("{} AND t.ctid < {}::tid").format(start, _address(span.end))


def _address(position: int) -> str:
    return f"({position // _ITEMS},{position % _ITEMS})"


def _changed(horizon: Horizon) -> sql.Composable:
    exact = _changed_exactly(horizon)
    if horizon.distance >= _FARTHEST:
        return exact
    # Four times cheaper than the exact test alone, and lets through what it must (rows whose
    # age has wrapped to a negative number are for the exact test to judge). A subquery, as age()
    # of the horizon is not a constant to PostgreSQL: this way it is asked once, not for each row.
    oldest = str(horizon.oldest % _WRAP)
    return sql.SQL("age(t.xmin) <= (SELECT age({}::xid)) AND {}").format(oldest, exact)


def _changed_exactly(horizon: Horizon) -> sql.Composable:
    return sql.SQL("{} <= {}").format(_distance(horizon.current), horizon.distance)


def _distance(current: int) -> sql.Composable:
    return sql.SQL(DISTANCE).format(
        current=sql.Literal(current), xmin=sql.SQL("t.xmin::text::bigint")
    )


def _line(table: SourceTable, current: int) -> sql.Composable:
    """A row as one line of JSON. row_to_json() says the same at twice the cost."""
    columns = [(column.name, _json(column)) for column in table.columns]
    return _object([(XID, ['"', _written_by(current), '"']), *columns], opening='{"_op":"upsert",')


def _key(table: SourceTable) -> sql.Composable:
    # Half of what this costs would be the widening: left to where the keys are read.
    return _object([*_key_members(table), ("xmin", [sql.SQL("t.xmin")])])


def _key_members(table: SourceTable) -> list[tuple[str, list[_Part]]]:
    names = key_names(table)
    return [(n, _json(c)) for n, c in zip(names, table.key_columns, strict=True)]


def key_names(table: SourceTable) -> list[str]:
    """What key columns are called outside the source: k0, k1, … in the key's order."""
    return [f"k{position}" for position in range(len(table.key))]


def _written_by(current: int) -> sql.Composable:
    return sql.SQL("{} - {}").format(sql.Literal(current), _distance(current))


def _content(table: SourceTable) -> sql.Composable:
    row = _object([(column.name, _json(column)) for column in table.columns])
    return sql.SQL("sum(hashtextextended({}, 0)::numeric)::text").format(row)


def _object(members: list[tuple[str, list[_Part]]], opening: str = "{") -> sql.Composable:
    parts: list[sql.Composable] = []
    text = opening
    for name, value in members:
        # A literal: to_json() of the name would be evaluated anew for every row.
        for piece in (f"{json.dumps(name, ensure_ascii=False)}:", *value, ","):
            if isinstance(piece, str):
                text += piece
            else:
                parts += [sql.Literal(text), piece]
                text = ""
    parts.append(sql.Literal(text.removesuffix(",") + "}"))
    while len(parts) > 1:
        groups = [parts[i : i + _ARGUMENTS] for i in range(0, len(parts), _ARGUMENTS)]
        parts = [sql.SQL("concat({})").format(sql.SQL(", ").join(group)) for group in groups]
    return parts[0]


def _json(column: SourceColumn) -> list[_Part]:
    """A column's value as JSON text: a literal for small integers and booleans, else a string.

    A string holds PostgreSQL's own text of the value, which is lossless for every type.
    """
    name = sql.Identifier("t", column.name)
    if column.kind == "integer" and not column.nullable:
        return [name]
    if column.base in _UNESCAPED and not column.nullable:
        return ['"', name, '"']  # concat() prints it, with no value in between
    if column.kind in {"integer", "boolean"}:
        value = sql.SQL("{}::text").format(name)
    elif column.base in _UNESCAPED:
        value = sql.SQL("""'"' || {}::text || '"'""").format(name)
    elif column.base in _STRINGS:
        value = sql.SQL("to_json({})::text").format(name)
    else:
        # A cast to text may be the source's own function; concat() prints as the type does.
        text = "CASE WHEN {0} IS DISTINCT FROM NULL THEN concat({0}) END"
        printed = sql.SQL(text if column.nullable else "concat({0})").format(name)
        value = sql.SQL("to_json({})::text").format(printed)
    return [sql.SQL("coalesce({}, 'null')").format(value) if column.nullable else value]
