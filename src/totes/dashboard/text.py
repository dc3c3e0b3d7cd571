"""Numbers, moments and strangers' text as a person reads them.

Text of the warehouse goes only where the browser shows text as it is: cells of tables, charts,
choices, `st.text`. It never goes into Markdown or HTML; what would still disturb there, such as
a line's end or a sign that turns a line around, is shown as an escape.
"""

import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal

import pandas as pd

NOT_CONVERTED = "not converted"
"""What stands where there are rows, but a rate for none of them."""

SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}

_SMALL = 10_000
"""Amounts below are shown with pennies."""

_LARGE, _MILLION = 10**9, 10**6
"""Amounts from there on are shown in millions."""

_TURNS_LINES = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def plain(value: object) -> str:
    """Anybody's text as one line that shows everything that is in it; nothing for None."""
    return "".join(
        ascii(sign)[1:-1]
        if unicodedata.category(sign) in {"Cc", "Zl", "Zp"}
        or unicodedata.bidirectional(sign) in _TURNS_LINES
        else sign
        for sign in ("" if is_missing(value) else str(value))
    )


def own(words: str) -> str:
    """Words of ours, with amounts in them, for Markdown, where a $ would begin a formula."""
    return words.replace("$", r"\$")


def is_missing(value: object) -> bool:
    """None, or what pandas makes of it; no array."""
    return value is None or bool(pd.isna(value))  # type: ignore[call-overload]


def money(value: Decimal | None, currency: str, *, exact: bool = False) -> str:
    """`£1,234,568`, `£57,794 m`, or to the penny: small amounts, and where it must be exact."""
    if value is None or is_missing(value):
        return NOT_CONVERTED
    digits, unit = 2 if exact or abs(value) < _SMALL else 0, ""
    if not exact and abs(value) >= _LARGE:
        value, unit = value / _MILLION, " m"
    symbol = SYMBOLS.get(currency, f"{currency} ")
    sign = "-" if round(value, digits) < 0 else ""
    return f"{sign}{symbol}{abs(value):,.{digits}f}{unit}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 order`, `2,000 orders`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: Decimal) -> str:
    """`12.5 %` for a share of 0.125."""
    return f"{share * 100:,.1f} %"


def day(when: date) -> str:
    """`3 Jan 2024`."""
    return f"{when.day} {when:%b %Y}"


def moment(at: datetime | None) -> str:
    """In UTC, to the second: pages are read in several time zones."""
    return "never" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: datetime, now: datetime) -> str:
    """`14:02 UTC`, with its day where that isn't today's."""
    at, now = at.astimezone(UTC), now.astimezone(UTC)
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{day(at)}, {at:%H:%M} UTC"


def ago(seconds: float) -> str:
    """`6 s ago`, `12 min ago`, `2.5 h ago`, `3 days ago`."""
    seconds = max(seconds, 0)
    for limit, unit, digits, name in (
        (120, 1, 0, "s"),
        (7200, 60, 0, "min"),
        (172_800, 3600, 1, "h"),
    ):
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name} ago"
    return f"{seconds / 86_400:.0f} days ago"


def period(since: date, until: date) -> str:
    """`22 Nov 2026`, or `24 Oct 2026 to 22 Nov 2026`."""
    return day(since) if since == until else f"{day(since)} to {day(until)}"
