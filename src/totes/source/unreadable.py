"""Lines of rows with values that PostgreSQL can't return.

A JSON object replaces such a value in the line: {"unreadable": reason, "hex": first bytes}.
"""

import json
from itertools import repeat
from typing import Any

import psycopg

from totes.lake.manifest import UNREADABLE_FIELD
from totes.postgres.sqlstate import primary_message

BYTES_KEPT = 4096
"""How many of a value's first bytes are stored as hex: more than any key has."""

_MAX_REASON_CHARACTERS = 500
"""Some messages of PostgreSQL quote the whole value, however long it is."""

_REPLACEMENT_START = b':{"%b":' % UNREADABLE_FIELD.encode()
"""Quotes in a JSON string are escaped, so these bytes occur only in a replacement."""


def reason(error: psycopg.Error) -> str:
    """Return PostgreSQL's message on one line, truncated to _MAX_REASON_CHARACTERS."""
    message = " ".join(primary_message(error).split())
    return (
        message
        if len(message) <= _MAX_REASON_CHARACTERS
        else f"{message[:_MAX_REASON_CHARACTERS]} […]"
    )


def replacement(cause: str, in_hex: str | None = None) -> str:
    """Return the JSON object that replaces a value."""
    return _dump({UNREADABLE_FIELD: cause} | ({"hex": in_hex} if in_hex else {}))


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are valid UTF-8, which readers of the lake expect."""
    if content.isascii():  # faster, without a copy
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_unreadable(line: bytes) -> bool:
    """Whether a line has a value that could not be read."""
    return _REPLACEMENT_START in line


def replace_unreadable(lines: bytes, keys: bytes) -> tuple[bytes, bytes, bytes]:
    """Return lines and keys in UTF-8, and a JSON line for each value that could not be read.

    In keys, the object that replaces a value is a string that starts with NUL, a character that no
    text in PostgreSQL has.
    """
    rows, row_keys = lines.split(b"\n"), keys.split(b"\n") if keys else repeat(b"{}")
    new_rows, new_keys, unreadable = [], [], []
    for row, key in zip(rows, row_keys, strict=bool(keys)):
        if is_utf8(row) and not is_unreadable(row):
            new_rows.append(row)
            new_keys.append(key)
            continue
        values = _parse_line(row)
        key_values = {name: _as_key(value) for name, value in _parse_line(key).items()}
        new_rows.append(_dump(values).encode())
        new_keys.append(_dump(key_values).encode())
        for column, value in values.items():
            if isinstance(value, dict):
                record = key_values | {"column": column, "reason": value[UNREADABLE_FIELD]}
                unreadable.append(_dump(record).encode())
    return b"\n".join(new_rows), b"\n".join(new_keys) if keys else b"", b"\n".join(unreadable)


def _parse_line(line: bytes) -> dict[str, Any]:
    values = json.loads(line.decode(errors="surrogateescape"))
    return {name: _replace_invalid_utf8(value) for name, value in values.items()}


def _replace_invalid_utf8(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    raw = value.encode(errors="surrogateescape")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        cause = f'invalid byte sequence for encoding "UTF8": 0x{raw[error.start]:02x}'
        return {UNREADABLE_FIELD: cause, "hex": raw[:BYTES_KEPT].hex()}
    return value


def _as_key(value: Any) -> Any:
    return f"\0{_dump(value)}" if isinstance(value, dict) else value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
