"""The SQL statement of a URL: compressed, so that long statements fit into a link."""

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode

from totes.dashboard.explore.sandbox import MAX_STATEMENT_LENGTH

MAX_LENGTH = 6000
"""Proxies accept URLs of about 8,000 characters."""


def encode(statement: str) -> str:
    """Return the value of the URL's parameter for a statement."""
    return urlsafe_b64encode(zlib.compress(statement.encode(), 9)).decode().rstrip("=")


def decode(value: str) -> str:
    """Return the statement of a value. Raises ValueError if it has none, or a longer one."""
    try:
        packed = urlsafe_b64decode(value + "=" * (-len(value) % 4))
        unpacking = zlib.decompressobj()
        # A character has up to four bytes.
        statement = unpacking.decompress(packed, 4 * MAX_STATEMENT_LENGTH).decode()
    except (binascii.Error, zlib.error) as error:
        raise ValueError("it is damaged") from error
    if not unpacking.eof or len(statement) > MAX_STATEMENT_LENGTH:
        raise ValueError(f"it is damaged, or longer than {MAX_STATEMENT_LENGTH:,} characters")
    return statement
