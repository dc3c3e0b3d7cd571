"""The messages of PostgreSQL's plug-in pgoutput, protocol 1, values in text.

Rows become the fields of JSON lines without an object for each value: this is the only part that
runs for each row in Python. The formats are in the chapter Logical Replication Message Formats of
PostgreSQL's documentation.
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring

from totes.source.catalogue import SourceTable
from totes.source.changes import key_names

BEGIN, COMMIT, RELATION, TRUNCATE = b"BCRT"
INSERT, UPDATE, DELETE = b"IUD"
_OLD_KEY, _OLD_ROW = b"KO"
_TEXT, _NULL, _UNCHANGED = b"tnu"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_int16 = struct.Struct("!H").unpack_from
_int32 = struct.Struct("!I").unpack_from

_find_escaped = re.compile(rb'[\x00-\x1f"\\]').search
"""The bytes of UTF-8 text that JSON escapes."""

type Values = list[bytes | type[Unchanged] | None]


class Unchanged:
    """Stands for a value in TOAST that an update did not change: the log does not have it."""


@dataclass(frozen=True)
class Begin:
    """The start of a transaction: its 32-bit id, and the time of its commit."""

    xid: int
    committed_at: datetime


@dataclass(frozen=True)
class Commit:
    """The end of a transaction: where its commit record starts and ends in the log."""

    position: int
    end: int


def read_begin(message: bytes) -> Begin:
    """Return a Begin message."""
    _, microseconds, xid = struct.unpack_from("!QqI", message, 1)
    return Begin(xid, _EPOCH + timedelta(microseconds=microseconds))


def read_commit(message: bytes) -> Commit:
    """Return a Commit message."""
    position, end = struct.unpack_from("!QQ", message, 2)
    return Commit(position, end)


def read_truncate(message: bytes) -> Iterator[int]:
    """Yield the OIDs of the truncated tables."""
    (count,) = _int32(message, 1)
    return iter(struct.unpack_from(f"!{count}I", message, 6))


@dataclass
class Relation:
    """A table as the log describes it, and how its rows become JSON.

    `columns` are the names of its columns in the order of their values. `table` is None for a table
    that is not captured from the log. `problem` says why its rows can't be decoded.
    """

    oid: int
    schema: str
    name: str
    columns: tuple[str, ...]
    table: SourceTable | None = None
    problem: str = ""
    _fields: list[tuple[bytes, str]] = field(default_factory=list)
    _key_places: list[int] = field(default_factory=list)
    _key_fields: list[bytes] = field(default_factory=list)
    _short_key_fields: list[bytes] = field(default_factory=list)

    def use(self, tables: Mapping[int, SourceTable]) -> None:
        """Decode rows as the captured table with this OID defines them."""
        table = tables.get(self.oid)
        if table is self.table:
            return
        self.table, self.problem = table, ""
        if table is None:
            return
        if [column.name for column in table.columns] != [*self.columns]:
            self.problem = "the log has other columns than the table"
            return
        kinds = {column.name: column.kind for column in table.columns}
        names = [_json_name(name) for name in self.columns]
        self._fields = [
            ((b"," if place else b"") + name, kinds[column])
            for place, (name, column) in enumerate(zip(names, self.columns, strict=True))
        ]
        self._key_places = [self.columns.index(name) for name in table.key]
        self._key_fields = [names[place] for place in self._key_places]
        self._short_key_fields = [_json_name(name) for name in key_names(table)]

    def row_fields(self, values: Values) -> bytes:
        """Return the JSON fields of a row, without braces."""
        parts: list[bytes] = []
        for (name, kind), value in zip(self._fields, values, strict=True):
            parts += name, _json_value(value, kind)
        return b"".join(parts)

    def key_fields(self, values: Values) -> tuple[bytes, bytes]:
        """Return the fields of a row's key: named as its columns, and as k0, k1 and so on."""
        json_values = [
            _json_value(values[place], self._fields[place][1]) for place in self._key_places
        ]
        named = zip(self._key_fields, json_values, strict=True)
        short = zip(self._short_key_fields, json_values, strict=True)
        return b",".join(map(b"".join, named)), b",".join(map(b"".join, short))


def read_relation(message: bytes) -> Relation:
    """Return a Relation message, which precedes the first change of a table."""
    (oid,) = _int32(message, 1)
    schema, offset = _read_name(message, 5)
    name, offset = _read_name(message, offset)
    (count,) = _int16(message, offset + 1)
    offset += 3
    columns = []
    for _ in range(count):
        column, offset = _read_name(message, offset + 1)
        columns.append(column)
        offset += 8
    return Relation(oid, schema, name, tuple(columns))


@dataclass(frozen=True)
class Change:
    """A row's values before and after; `old` has only the key unless all columns identify rows."""

    oid: int
    old: Values | None
    new: Values | None


def read_change(message: bytes) -> Change:
    """Return an Insert, Update or Delete message.

    In a new row, values of TOAST that the update did not change are taken from the old row if the
    log has all of it.
    """
    (oid,) = _int32(message, 1)
    offset, old, new = 5, None, None
    kind = message[offset]
    if kind in {_OLD_KEY, _OLD_ROW}:
        old, offset = _read_values(message, offset + 1)
    if message[0] != DELETE:
        new, _ = _read_values(message, offset + 1)
        if old is not None and kind == _OLD_ROW and Unchanged in new:
            new = [
                before if value is Unchanged else value
                for before, value in zip(old, new, strict=True)
            ]
    return Change(oid, old, new)


def _read_values(message: bytes, offset: int) -> tuple[Values, int]:
    (count,) = _int16(message, offset)
    offset += 2
    values: Values = []
    for _ in range(count):
        kind = message[offset]
        if kind == _TEXT:
            (size,) = _int32(message, offset + 1)
            offset += 5
            values.append(message[offset : offset + size])
            offset += size
        elif kind in {_NULL, _UNCHANGED}:
            values.append(None if kind == _NULL else Unchanged)
            offset += 1
        else:
            raise ValueError(f"a value of kind {chr(kind)!r} in the log")
    return values, offset


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    end = message.index(b"\0", offset)
    return message[offset:end].decode(), end + 1


def _json_name(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode() + b":"


def _json_value(value: bytes | type[Unchanged] | None, kind: str) -> bytes:
    """Return a value as JSON, the same as a scan of the table prints it."""
    if value is None:
        return b"null"
    if not isinstance(value, bytes):
        raise TypeError("an unchanged value has no text")
    if kind == "integer":
        return value
    if kind == "boolean":
        return b"true" if value == b"t" else b"false"
    if _find_escaped(value):
        return encode_basestring(value.decode()).encode()
    return b'"' + value + b'"'
