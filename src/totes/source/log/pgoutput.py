"""The messages of PostgreSQL's plug-in pgoutput, protocol 1, values in text.

Rows become the fields of JSON lines without an object for each value: this is the only part that
runs for each row in Python. The formats are in the chapter Logical Replication Message Formats of
PostgreSQL's documentation.
"""

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring

from totes.source.catalogue import SourceTable
from totes.source.json_sql import key_names

BEGIN, COMMIT, RELATION, TRUNCATE = b"BCRT"
INSERT, UPDATE, DELETE = b"IUD"
_OLD_KEY, _OLD_ROW = b"KO"
_TEXT, _NULL, _UNCHANGED = b"tnu"

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

_int16 = struct.Struct("!H").unpack_from
_int32 = struct.Struct("!I").unpack_from

_find_escaped = re.compile(rb'[\x00-\x1f"\\]').search
"""Finds a byte of UTF-8 text that JSON escapes."""

type Values = list[bytes | None]
"""The values of a row as JSON; None for a value in TOAST that an update did not change."""


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
    columns: tuple[str, ...]
    table: SourceTable | None = None
    problem: str = ""
    _kinds: tuple[str, ...] = ()
    _key_places: tuple[int, ...] = ()
    _row_format: bytes = b""
    _key_format: bytes = b""
    _short_key_format: bytes = b""

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
        self._kinds = tuple(kinds[name] for name in self.columns)
        self._key_places = tuple(self.columns.index(name) for name in table.key)
        self._row_format = _json_format(self.columns)
        self._key_format = _json_format(table.key)
        self._short_key_format = _json_format(key_names(table))

    def read_change(self, message: bytes) -> tuple[Values | None, Values | None]:
        """Return the values before and after an Insert, Update or Delete message.

        The values before it are only those of the key, unless the replica identity is FULL; None if
        the key has not changed. In the new row, values in TOAST that the update did not change are
        taken from the old row if the log has all of its columns.
        """
        offset, old, new = 5, None, None
        kind = message[offset]
        if kind in {_OLD_KEY, _OLD_ROW}:
            old, offset = self._read_values(message, offset + 1)
        if message[0] != DELETE:
            new, _ = self._read_values(message, offset + 1)
            if old is not None and kind == _OLD_ROW and None in new:
                new = [
                    before if value is None else value
                    for before, value in zip(old, new, strict=True)
                ]
        return old, new

    def row_fields(self, values: Values) -> bytes:
        """Return the JSON fields of a row, without braces."""
        return self._row_format % tuple(values)

    def key_fields(self, values: Values) -> tuple[bytes, bytes]:
        """Return the fields of a row's key: named as its columns, and as k0, k1 and so on."""
        key = tuple(values[place] for place in self._key_places)
        return self._key_format % key, self._short_key_format % key

    def _read_values(self, message: bytes, offset: int) -> tuple[Values, int]:
        """Return the values of a row as JSON, the same as a scan prints them, and their end."""
        offset += 2
        values: Values = []
        add = values.append
        for kind in self._kinds:
            form = message[offset]
            if form == _TEXT:
                (size,) = _int32(message, offset + 1)
                offset += 5
                value = message[offset : offset + size]
                offset += size
                if kind == "text":
                    if _find_escaped(value):
                        add(encode_basestring(value.decode()).encode())
                    else:
                        add(b'"%b"' % value)
                elif kind == "integer":
                    add(value)
                else:
                    add(b"true" if value == b"t" else b"false")
            elif form == _NULL:
                add(b"null")
                offset += 1
            elif form == _UNCHANGED:
                add(None)
                offset += 1
            else:
                raise ValueError(f"a value of kind {chr(form)!r} in the log")
        return values, offset


def read_relation(message: bytes) -> Relation:
    """Return a Relation message, which precedes the first change of a table."""
    (oid,) = _int32(message, 1)
    _, offset = _read_name(message, 5)  # the schema
    _, offset = _read_name(message, offset)
    (count,) = _int16(message, offset + 1)
    offset += 3
    columns = []
    for _ in range(count):
        column, offset = _read_name(message, offset + 1)
        columns.append(column)
        offset += 8
    return Relation(oid, tuple(columns))


def changed_table(message: bytes) -> int:
    """Return the OID of the table of an Insert, Update or Delete message."""
    (oid,) = _int32(message, 1)
    return int(oid)


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    end = message.index(b"\0", offset)
    return message[offset:end].decode(), end + 1


def _json_format(names: Iterable[str]) -> bytes:
    """Return the format of JSON fields with these names, whose values follow a `%`."""
    fields = (json.dumps(name, ensure_ascii=False).replace("%", "%%") + ":%b" for name in names)
    return ",".join(fields).encode()
