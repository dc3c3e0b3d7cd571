"""SQL that writes rows, keys and values of the source as JSON.

The server composes the lines of ingestion files, so that no value is converted twice. Values are
composed as literals, not bound: a name in the source may contain a `%`.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

from psycopg import sql

from totes.lake.line import UPSERT, XID
from totes.source.catalogue import INTEGER_TYPES, SourceColumn, SourceTable

_ConcatArgument = str | sql.Composable
"""An argument of concat(): literal text, or an expression."""

_MAX_ARGUMENTS = 96
"""The most arguments for one call of concat() (PostgreSQL's limit is 100)."""

_UNESCAPED_TYPES = frozenset(
    {"int8", "numeric", "float4", "float8", "timestamp", "timestamptz", "date", "time", "timetz"}
    | {"uuid", "oid"}
)
"""Types whose text never contains a character that JSON escapes."""

_STRING_TYPES = frozenset({"text", "varchar", "bpchar"})
"""Types that to_json() prints unchanged; a cast to text would trim bpchar's blanks."""

_SHORT_TYPES = _UNESCAPED_TYPES | INTEGER_TYPES | {"bool"}
"""Types whose values are always short."""

NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


def line_sql(
    table: SourceTable, xid: sql.Composable, unreadable: Mapping[str, str]
) -> sql.Composable:
    """Return SQL for a row as one line of an ingestion file; `xid` is SQL for its transaction.

    row_to_json() would take twice as long.
    """
    columns = [(column.name, json_parts(column, unreadable)) for column in table.columns]
    return json_object_sql([(XID, ['"', xid, '"']), *columns], opening=f"{UPSERT},")


def key_line_sql(table: SourceTable, unreadable: Mapping[str, str]) -> sql.Composable:
    """Return SQL for a row's key, `xmin` and `ctid` as a line, as in Chunk."""
    # `xmin` is widened where the keys are read: here it would double the cost.
    if table.has_integer_key:
        names = (sql.Identifier("t", name) for name in (*table.key, "xmin", "ctid"))
        # concat() ignores NULL.
        return sql.SQL("concat({})").format(sql.SQL(", ',', ").join(names))
    columns = zip(key_names(table), table.key_columns, strict=True)
    return json_object_sql(
        [
            *((name, json_parts(column, unreadable)) for name, column in columns),
            ("xmin", [sql.SQL("t.xmin")]),
            ("ctid", ['"', sql.SQL("t.ctid"), '"']),
        ]
    )


def key_names(table: SourceTable) -> list[str]:
    """Return the names of key columns in files and DuckDB: k0, k1, … in the key's order."""
    return [f"k{position}" for position in range(len(table.key))]


def content_hash_sql(table: SourceTable, unreadable: Mapping[str, str]) -> sql.Composable:
    """Return SQL for the sum of the hashes of rows, as in Chunk."""
    row = json_object_sql(
        [(column.name, json_parts(column, unreadable)) for column in table.columns]
    )
    return sql.SQL("sum(hashtextextended({}, 0)::numeric)::text").format(row)


def json_object_sql(
    fields: list[tuple[str, list[_ConcatArgument]]], opening: str = "{"
) -> sql.Composable:
    """Return SQL for a JSON object with these names and values."""
    arguments: list[sql.Composable] = []
    text = opening
    for name, value in fields:
        # A literal, because to_json() of the name would be evaluated for every row.
        for part in (f"{json.dumps(name, ensure_ascii=False)}:", *value, ","):
            if isinstance(part, str):
                text += part
            else:
                arguments += [sql.Literal(text), part]
                text = ""
    arguments.append(sql.Literal(text.removesuffix(",") + "}"))
    while len(arguments) > 1:
        groups = [
            arguments[i : i + _MAX_ARGUMENTS] for i in range(0, len(arguments), _MAX_ARGUMENTS)
        ]
        arguments = [sql.SQL("concat({})").format(sql.SQL(", ").join(group)) for group in groups]
    return arguments[0]


def json_parts(
    column: SourceColumn, unreadable: Mapping[str, str] = NO_COLUMNS
) -> list[_ConcatArgument]:
    """Return a column's value as JSON: a literal for small integers and booleans, else a string.

    The string is the value's text in PostgreSQL, which is lossless for every type.
    """
    if column.name in unreadable:
        return [unreadable[column.name]]
    name = sql.Identifier("t", column.name)
    if column.kind == "integer" and not column.nullable:
        return [name]
    if column.base in _UNESCAPED_TYPES and not column.nullable:
        return ['"', name, '"']  # concat() converts it without an intermediate text value
    if column.kind in {"integer", "boolean"}:
        value = sql.SQL("{}::text").format(name)
    elif column.base in _UNESCAPED_TYPES:
        value = sql.SQL("""'"' || {}::text || '"'""").format(name)
    elif column.base in _STRING_TYPES:
        value = sql.SQL("to_json({})::text").format(name)
    else:
        # A cast to text may be defined by the user; concat() calls the type's output function.
        text = "CASE WHEN {0} IS DISTINCT FROM NULL THEN concat({0}) END"
        output = sql.SQL(text if column.nullable else "concat({0})").format(name)
        value = sql.SQL("to_json({})::text").format(output)
    return [sql.SQL("coalesce({}, 'null')").format(value) if column.nullable else value]


def stored_bytes_sql(column: SourceColumn) -> sql.Composable:
    """Return SQL for a lower bound of a value's bytes as text; it does not read TOAST tables."""
    name = sql.Identifier("t", column.name)
    if column.base in _SHORT_TYPES:
        return sql.SQL("0")
    if column.base in _STRING_TYPES:
        return sql.SQL("coalesce(octet_length({}), 0)::bigint").format(name)
    if column.base == "bytea":
        return sql.SQL("coalesce(octet_length({}), 0)::bigint * 2").format(name)
    return sql.SQL("coalesce(pg_column_size({}), 0)::bigint").format(name)


def printed_bytes_sql(column: SourceColumn) -> sql.Composable:
    """Return SQL for the bytes of a value as JSON in UTF-8; it fails if reading the value fails."""
    value = sql.SQL("concat({})").format(
        sql.SQL(", ").join(
            sql.Literal(part) if isinstance(part, str) else part for part in json_parts(column)
        )
    )
    return sql.SQL("octet_length(convert_to({}, 'UTF8'))::bigint").format(value)


def first_bytes_sql(column: SourceColumn, most: int) -> sql.Composable:
    """Return SQL for the first `most` bytes of a value's text, unconverted, in hex."""
    return sql.SQL(
        "encode(substr(decode(replace(concat({}), E'\\\\', E'\\\\\\\\'), 'escape'), 1, {}), 'hex')"
    ).format(sql.Identifier("t", column.name), most)
