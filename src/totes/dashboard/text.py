"""Format amounts, times and texts of the warehouse for users.

Texts of the warehouse are shown only where the browser does not interpret them: cells of tables,
charts, options, `st.text`, never Markdown or HTML. Control characters are shown as escapes.
"""

from datetime import date, datetime
from decimal import Decimal

import pandas as pd

from totes.dashboard.preferences import local, preferences
from totes.escape import escape_controls

NOT_CONVERTED = "not converted"
"""Shown instead of an amount if none of its rows can be converted."""

SYMBOLS = {"GBP": "£", "EUR": "€", "USD": "$"}

_SMALL = 10_000
"""Amounts below this are shown with pence."""

_BILLION = 10**9
"""Amounts from this on are shown in billions."""


def plain(value: object) -> str:
    """Return any text as one line, with control characters as escapes; "" for None."""
    return "" if is_missing(value) else escape_controls(str(value))


def markdown(message: str) -> str:
    r"""Return a message of the program for Markdown, with \$ for $, which begins a formula."""
    return message.replace("$", r"\$")


def is_missing(value: object) -> bool:
    """Return whether a value, which is no array, is None or one of pandas' missing values."""
    return value is None or bool(pd.isna(value))  # type: ignore[call-overload]


def money(value: Decimal | None, currency: str, *, exact: bool = False) -> str:
    """Return such as `£1,234,568` or `£57.794bn`; with pence if it is small or must be exact."""
    if value is None or is_missing(value):
        return NOT_CONVERTED
    digits, unit = 2 if exact or abs(value) < _SMALL else 0, ""
    if not exact and abs(value) >= _BILLION:
        value, digits, unit = value / _BILLION, 3, "bn"
    symbol = SYMBOLS.get(currency, f"{currency} ")
    sign = "-" if round(value, digits) < 0 else ""
    return f"{sign}{symbol}{abs(value):,.{digits}f}{unit}"


def count(number: int, one: str, many: str = "") -> str:
    """Return such as `1 order` or `2,000 orders`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unconverted(rows: str) -> str:
    """Return why a total is without such as `3 rows`."""
    return f"Not converted: {rows} without an exchange rate, or with an amount of 10^18 or more"


def change(share: Decimal) -> str:
    """Return `+12.5 %` for a share of 0.125."""
    return f"{share * 100:+,.1f} %" if share else "no change"


def day(when: date) -> str:
    """Return such as `3 Jan 2024`."""
    return f"{when.day} {when:%b %Y}"


def moment(at: datetime | None) -> str:
    """Return such as `2024-01-03 14:02:00 UTC`; `never` for None."""
    return "never" if at is None else f"{local(at):%Y-%m-%d %H:%M:%S %Z}"


def time_zone() -> str:
    """Return the name of the time zone in which moments are shown."""
    return str(preferences().time_zone)


def clock(at: datetime, now: datetime) -> str:
    """Return such as `14:02 UTC`; with the date if it is not today's."""
    at, now = local(at), local(now)
    return f"{at:%H:%M %Z}" if at.date() == now.date() else f"{day(at)}, {at:%H:%M %Z}"


def ago(seconds: float) -> str:
    """Return such as `6 s ago`, `12 min ago`, `2.5 h ago` or `3 days ago`."""
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
    """Return such as `22 Nov 2026` or `24 Oct 2026 to 22 Nov 2026`."""
    return day(since) if since == until else f"{day(since)} to {day(until)}"
