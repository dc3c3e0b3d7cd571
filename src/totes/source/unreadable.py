"""Values that PostgreSQL can't hand over: which errors say so, and lines without such values.

In a row's line an object stands in place of such a value: {"unreadable": reason, "hex": bytes}.
"""

import json
from itertools import repeat
from typing import Any

import psycopg

from totes.lake.manifest import UNREADABLE

_OF_A_VALUE = ("22", "38", "39", "54", "P0", "XX")
"""Classes of SQLSTATEs that a value causes: data exceptions (encoding, division by zero), external
routines, program limits (1 GB), RAISE, corruption and internal errors (allocation sizes)."""

_OF_MANY_VALUES = ("53200",)
"""Out of memory may pass: a reason to ask for less at a time, but not to refuse a row."""

BYTES_KEPT = 4096
"""First bytes of a value that are kept as hex: more than any key has."""

_STANDS_IN = b':{"%b":' % UNREADABLE.encode()
"""Inside a JSON string the quotes would be escaped, so this is always such an object."""


def is_of_value(error: psycopg.Error) -> bool:
    """Whether a value that was read caused the error, whoever reads it and whenever."""
    return (error.sqlstate or "").startswith(_OF_A_VALUE)


def is_of_encoding(error: psycopg.Error) -> bool:
    """Whether it is bytes that can't be converted to UTF-8."""
    return error.sqlstate in {"22021", "22P05"}


def is_of_range(error: psycopg.Error) -> bool:
    """Whether a smaller range of rows may be read where this error ended the query."""
    return is_of_value(error) or error.sqlstate in _OF_MANY_VALUES


def reason(error: psycopg.Error) -> str:
    """What PostgreSQL says of the value, on one line."""
    return " ".join((error.diag.message_primary or str(error)).split())


def stand_in(why: str, in_hex: str | None = None) -> str:
    """The JSON object in place of a value."""
    return _dump({UNREADABLE: why} | ({"hex": in_hex} if in_hex else {}))


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are text as every reader of the lake expects it."""
    if content.isascii():  # which is quicker, and makes no copy
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_unreadable(line: bytes) -> bool:
    """Whether a line holds a value that could not be read."""
    return _STANDS_IN in line


def mended(lines: bytes, keys: bytes) -> tuple[bytes, bytes, bytes]:
    """Lines and keys in UTF-8, and a JSON line for each value that could not be read.

    A key's unreadable value becomes a text that begins with a character that PostgreSQL doesn't
    have, and goes on with the object.
    """
    rows, names, found = lines.split(b"\n"), keys.split(b"\n") if keys else repeat(b"{}"), []
    new_rows, new_keys = [], []
    for row, key in zip(rows, names, strict=bool(keys)):
        if is_utf8(row) and not is_unreadable(row):
            new_rows.append(row)
            new_keys.append(key)
            continue
        values, in_key = _values(row), _values(key)
        known = {name: _as_key(value) for name, value in in_key.items()}
        new_rows.append(_dump(values).encode())
        new_keys.append(_dump(known).encode())
        for column, value in values.items():
            if isinstance(value, dict):
                record = known | {"column": column, "reason": value[UNREADABLE]}
                found.append(_dump(record).encode())
    return b"\n".join(new_rows), b"\n".join(new_keys) if keys else b"", b"\n".join(found)


def _values(line: bytes) -> dict[str, Any]:
    values = json.loads(line.decode(errors="surrogateescape"))
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    raw = value.encode(errors="surrogateescape")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        why = f'invalid byte sequence for encoding "UTF8": 0x{raw[error.start]:02x}'
        return {UNREADABLE: why, "hex": raw[:BYTES_KEPT].hex()}
    return value


def _as_key(value: Any) -> Any:
    return f"\0{_dump(value)}" if isinstance(value, dict) else value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
