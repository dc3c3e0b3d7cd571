"""Positions in PostgreSQL's write-ahead log (LSN): as numbers of bytes, and as text."""


def parse_lsn(text: str) -> int:
    """Return a position such as `0/16B3748` as a number of bytes."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def format_lsn(number: int) -> str:
    """Return a position as PostgreSQL prints it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
