"""Lines of rows with values that PostgreSQL can't return.

In the line, a JSON object replaces such a value: {"unreadable": reason, "hex": first bytes}.
"""

import json
from itertools import repeat
from typing import Any

import psycopg

from totes.lake.manifest import UNREADABLE

BYTES_KEPT = 4096
"""How many of a value's first bytes are kept as hex: more than any key has."""

_LONGEST_REASON = 500
"""Characters. Some messages of PostgreSQL quote the whole value, however long it is."""

_REPLACED = b':{"%b":' % UNREADABLE.encode()
"""Inside a JSON string the quotes would be escaped, so this is always such an object."""


def reason(error: psycopg.Error) -> str:
    """PostgreSQL's message about the value, on one line, cut where it is long."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    return message if len(message) <= _LONGEST_REASON else f"{message[:_LONGEST_REASON]} […]"


def replacement(why: str, in_hex: str | None = None) -> str:
    """The JSON object that replaces a value."""
    return _dump({UNREADABLE: why} | ({"hex": in_hex} if in_hex else {}))


def is_utf8(content: bytes) -> bool:
    """Whether the bytes are valid UTF-8, which readers of the lake expect."""
    if content.isascii():  # quicker, and makes no copy
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_unreadable(line: bytes) -> bool:
    """Whether a line has a value that could not be read."""
    return _REPLACED in line


def replace_unreadable(lines: bytes, keys: bytes) -> tuple[bytes, bytes, bytes]:
    """Lines and keys in UTF-8, and a JSON line for each value that could not be read.

    In keys the object is a text with NUL before it, since no text of PostgreSQL has that character.
    """
    rows, row_keys = lines.split(b"\n"), keys.split(b"\n") if keys else repeat(b"{}")
    new_rows, new_keys, found = [], [], []
    for row, key in zip(rows, row_keys, strict=bool(keys)):
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
