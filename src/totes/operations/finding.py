"""The result of one check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check: its subject, what was found, and the advice if it is not `ok`."""

    what: str
    found: str
    advice: str = ""
    ok: bool = True


def failed(what: str, found: str, advice: str = "") -> Finding:
    """Return the result of a check that failed."""
    return Finding(what, found, advice, ok=False)
