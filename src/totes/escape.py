"""Escape characters of untrusted text that a terminal or browser would interpret."""

import unicodedata

_BIDIRECTIONAL_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def escape_controls(text: str) -> str:
    """Return untrusted text as one line without control characters.

    Characters that move the cursor, end the line or change the writing direction are escaped as in
    Python.
    """
    return "".join(
        ascii(character)[1:-1]
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in _BIDIRECTIONAL_CONTROLS
        else character
        for character in text
    )
