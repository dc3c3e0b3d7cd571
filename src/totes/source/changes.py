"""The statements that read a table's rows: which changed, as JSON Lines, in one scan.

PostgreSQL stamps every row version with the transaction that wrote it, `xmin`. The rows written
by transactions at or after a horizon are what changed, whatever the application's own columns
say. `xmin` has 32 bits and wraps around, so it is widened against the snapshot's xmax: a visible
row was written before xmax, and its distance to it modulo 2^32 tells by how much.

Values are composed as literals, not bound: a name of the source may hold a `%`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import LiteralString, NamedTuple, Self

import psycopg
from psycopg import sql

from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.unreadable import is_utf8, replace_unreadable

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

INTEGERS = frozenset({"int2", "int4", "int8"})

_STRINGS = frozenset({"text", "varchar", "bpchar"})
"""Types that to_json() prints as they are; a cast to text would cut bpchar's blanks."""

_FIXED = _UNESCAPED | INTEGERS | {"bool"}
"""Types whose values are never long."""

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


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
    `wide`: its rows may be longer than a block (TOAST). `part` is the OID of the only partition or
    child to read, since all have rows at the same addresses; None means all of them.
    """

    start: int
    end: int
    last: bool = False
    wide: bool = False
    part: int | None = None

    @property
    def block(self) -> int:
        """The first block."""
        return self.start // _ITEMS

    @property
    def blocks(self) -> int:
        """The number of blocks, the last of which may be in part."""
        return (self.end - 1) // _ITEMS - self.block + 1

    def halves(self) -> tuple["Span", "Span"]:
        return self.split((self.block + self.blocks // 2) * _ITEMS)

    def split(self, position: int) -> tuple["Span", "Span"]:
        return replace(self, end=position, last=False), replace(self, start=position)


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

    unreadable: bytes = b""
    """JSON Lines of values that could not be read: key columns, `column` and `reason`."""


class Size(NamedTuple):
    """Blocks of a table (of its largest partition), bytes in all, and whether TOAST has some."""

    blocks: int
    size_bytes: int
    wide: bool


def table_size(connection: psycopg.Connection, table: SourceTable) -> Size:
    """How large a table is now."""
    ((blocks, size_bytes, toast_bytes),) = connection.execute(
        """
        SELECT coalesce(max(pg_relation_size(relid)), 0)
                   / current_setting('block_size')::bigint,
               coalesce(sum(pg_table_size(relid)), 0)::bigint,
               coalesce(sum(pg_relation_size(reltoastrelid)), 0)
        FROM unnest(%s::oid[]) AS part(relid)
        JOIN pg_class ON pg_class.oid = relid
        """,
        [[table.oid, *table.members]],
    ).fetchall()
    return Size(blocks, size_bytes, toast_bytes > 0)


def split(blocks: int, step: int, *, wide: bool = False) -> Iterator[Span]:
    """The whole table in ranges of `step` blocks."""
    blocks = max(blocks, 1)
    for start in range(0, blocks, step):
        end = min(start + step, blocks)
        yield Span(start * _ITEMS, end * _ITEMS, last=end == blocks, wide=wide)


def read_range(  # noqa: PLR0913  a table, which of its rows, and what of them
    connection: psycopg.Connection,
    table: SourceTable,
    current: int,
    horizon: Horizon | None,
    span: Span,
    *,
    most_bytes: int,
    unreadable: Mapping[str, str] = NO_COLUMNS,
) -> Chunk:
    """Read a range of rows by one statement; all count as changed where `horizon` is None.

    `unreadable` has, by column, the JSON to take in place of the values. Raises
    ProgramLimitExceeded where the rows have more than `most_bytes` as JSON.
    """
    # Text in SQL_ASCII may be any bytes. It is fetched as bytea and checked here; in binary format,
    # as the text format of bytea is twice as long.
    raw = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    query = _query(table, current, horizon, span, unreadable, raw=raw)
    sent = sql.SQL(
        "SELECT rows, changed, octet_length(lines)::text,"
        " CASE WHEN octet_length(lines) <= {} THEN lines END, keys, content FROM ({}) AS found"
    ).format(most_bytes, query)
    rows, changed, size, lines, keys, content = _bytes(connection.execute(sent, binary=True))
    if int(size or 0) > most_bytes:
        raise psycopg.errors.ProgramLimitExceeded(f"{int(size)} bytes as JSON")
    found = b""
    if unreadable or not (is_utf8(lines) and is_utf8(keys)):
        lines, keys, found = replace_unreadable(lines, keys)
    return Chunk(int(rows), int(changed), lines, keys, int(content or 0), found)


def _query(  # noqa: PLR0913  as read_range
    table: SourceTable,
    current: int,
    horizon: Horizon | None,
    span: Span,
    unreadable: Mapping[str, str],
    *,
    raw: bool,
) -> sql.Composed:
    names = {"table": relation(table), "within": _within(span)}
    rows, where = sql.SQL("count(*)"), sql.SQL("{within}")
    if horizon:
        # Counted apart: a FILTER on each aggregate would judge each row once more.
        rows = sql.SQL("(SELECT count(*) FROM {table} AS t WHERE {within})")
        where = sql.SQL("{within} AND {changed}")
        names["changed"] = _changed(horizon)
    aggregate = sql.SQL(
        "string_agg(convert_to({}, 'SQL_ASCII'), decode('0a', 'hex'))"
        if raw
        else "string_agg({}, E'\\n')"
    )
    nothing = sql.SQL("NULL::text")
    return sql.SQL(
        "SELECT {rows}::text AS rows, count(*)::text AS changed, {lines} AS lines, {keys} AS keys,"
        " {content} AS content FROM {table} AS t WHERE {where}"
    ).format(
        rows=rows.format(**names),
        lines=aggregate.format(_line(table, current, unreadable)),
        keys=aggregate.format(_key(table, unreadable)) if table.key else nothing,
        content=nothing if table.key else _content(table, unreadable),
        table=names["table"],
        where=where.format(**names),
    )


def wide_rows(
    connection: psycopg.Connection,
    table: SourceTable,
    horizon: Horizon | None,
    span: Span,
    least_bytes: int,
) -> list[tuple[int, int, int]]:
    """Position, number and size of the rows in a range with more than `least_bytes` stored.

    No value is fetched. Rows of several partitions may have the same position.
    """
    where = [_within(span), *([_changed(horizon)] if horizon else [])]
    rows = connection.execute(
        sql.SQL(
            "SELECT stored.ctid::text, count(*), sum(width)::bigint"
            " FROM (SELECT t.ctid, {width} AS width FROM {table} AS t WHERE {where}) AS stored"
            " WHERE width > {least} GROUP BY stored.ctid ORDER BY stored.ctid"
        ).format(
            width=sql.SQL(" + ").join([sql.SQL("0"), *map(stored_bytes, table.columns)]),
            table=relation(table),
            where=sql.SQL(" AND ").join(where),
            least=least_bytes,
        )
    ).fetchall()
    return [(_position(address), count, width) for address, count, width in rows]


def positions(
    connection: psycopg.Connection, table: SourceTable, span: Span
) -> list[tuple[int, int]]:
    """Table (or partition) OID and position of each row in a range."""
    query = sql.SQL("SELECT t.tableoid::bigint, t.ctid::text FROM {} AS t WHERE {}")
    rows = connection.execute(query.format(relation(table), _within(span))).fetchall()
    return sorted((part, _position(address)) for part, address in rows)


def of_row(
    connection: psycopg.Connection, table: SourceTable, span: Span, value: sql.Composable
) -> object:
    """An expression's value for the only row of a range."""
    query = sql.SQL("SELECT {} FROM {} AS t WHERE {}")
    [(found,)] = connection.execute(query.format(value, relation(table), _within(span))).fetchall()
    return found


def stored_bytes(column: SourceColumn) -> sql.Composable:
    """A lower bound of a value's length as text, without fetching what TOAST stores."""
    name = sql.Identifier("t", column.name)
    if column.base in _FIXED:
        return sql.SQL("0")
    if column.base in _STRINGS:
        return sql.SQL("coalesce(octet_length({}), 0)::bigint").format(name)
    if column.base == "bytea":
        return sql.SQL("coalesce(octet_length({}), 0)::bigint * 2").format(name)
    return sql.SQL("coalesce(pg_column_size({}), 0)::bigint").format(name)


def printed_bytes(column: SourceColumn) -> sql.Composable:
    """The length of a value as JSON in UTF-8; raises the error that reading it would raise."""
    value = sql.SQL("concat({})").format(
        sql.SQL(", ").join(
            sql.Literal(part) if isinstance(part, str) else part for part in _json(column)
        )
    )
    return sql.SQL("octet_length(convert_to({}, 'UTF8'))::bigint").format(value)


def first_bytes(column: SourceColumn, most: int) -> sql.Composable:
    """The first bytes of a value's text in the database's encoding, in hex."""
    return sql.SQL(
        "encode(substr(decode(replace(concat({}), E'\\\\', E'\\\\\\\\'), 'escape'), 1, {}), 'hex')"
    ).format(sql.Identifier("t", column.name), most)


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
        integer = len(table.key) == 1 and table.key_columns[0].base in INTEGERS
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
    """A key in the chosen buckets that several rows have, as JSON, and the tables of these rows."""
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
    if span.part is not None:
        start = sql.SQL("t.tableoid = {}::oid AND {}").format(span.part, start)
    if span.last:
        return start
    return sql.SQL("{} AND t.ctid < {}::tid").format(start, _address(span.end))


def _address(position: int) -> str:
    return f"({position // _ITEMS},{position % _ITEMS})"


def _position(address: str) -> int:
    block, item = address.strip("()").split(",")
    return int(block) * _ITEMS + int(item)


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


def _line(table: SourceTable, current: int, unreadable: Mapping[str, str]) -> sql.Composable:
    """A row as one line of JSON. row_to_json() says the same at twice the cost."""
    columns = [(column.name, _json(column, unreadable)) for column in table.columns]
    return _object([(XID, ['"', _written_by(current), '"']), *columns], opening='{"_op":"upsert",')


def _key(table: SourceTable, unreadable: Mapping[str, str]) -> sql.Composable:
    # Half of what this costs would be the widening: left to where the keys are read.
    return _object([*_key_members(table, unreadable), ("xmin", [sql.SQL("t.xmin")])])


def _key_members(
    table: SourceTable, unreadable: Mapping[str, str] = NO_COLUMNS
) -> list[tuple[str, list[_Part]]]:
    names = key_names(table)
    return [(n, _json(c, unreadable)) for n, c in zip(names, table.key_columns, strict=True)]


def key_names(table: SourceTable) -> list[str]:
    """What key columns are called outside the source: k0, k1, … in the key's order."""
    return [f"k{position}" for position in range(len(table.key))]


def _written_by(current: int) -> sql.Composable:
    return sql.SQL("{} - {}").format(sql.Literal(current), _distance(current))


def _content(table: SourceTable, unreadable: Mapping[str, str]) -> sql.Composable:
    row = _object([(column.name, _json(column, unreadable)) for column in table.columns])
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


def _json(column: SourceColumn, unreadable: Mapping[str, str] = NO_COLUMNS) -> list[_Part]:
    """A column's value as JSON text: a literal for small integers and booleans, else a string.

    A string holds PostgreSQL's own text of the value, which is lossless for every type.
    """
    if column.name in unreadable:
        return [unreadable[column.name]]
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
