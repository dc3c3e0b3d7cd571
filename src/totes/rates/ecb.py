"""What the European Central Bank publishes, and when: its file of all rates, read and checked."""

import http.client
import io
import re
import time
import urllib.request
import zipfile
import zlib
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import unquote, urlsplit

from dateutil.easter import easter

from totes import __version__
from totes.rates import Published

PUBLISHED_UTC_HOUR = 15
"""The ECB publishes at about 16:00 of its own time."""

TIMEOUT_SECONDS = 10.0

MOST_BYTES = 32_000_000
"""More is no file of rates, packed or not: all since 1999 have 2 MB."""

UNREADABLE = (OSError, ValueError, http.client.HTTPException)
"""What `fetch` and `parse` raise."""

_DAY = timedelta(days=1)
_CODE = re.compile("[A-Z]{3}")
_RATE = re.compile(r"(?=.*[1-9])(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")
_NONE = frozenset({"", "N/A"})


def bundled() -> Traversable:
    """The file that comes with the program, made by `make rates`."""
    return files("totes.rates") / "eurofxref.csv"


def parse(content: bytes, source: str, since: date) -> dict[date, Published]:
    """The days after `since` of the ECB's CSV, zipped or not; ValueError where it is none."""
    try:
        text = _unzipped(content).decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("it is no CSV") from None
    if not text.endswith("\n"):
        raise ValueError("its last line has no end")
    lines = iter(text.splitlines())
    heading, *codes = _cells(next(lines, ""))
    distinct = len(set(codes)) == len(codes) and "EUR" not in codes
    if heading != "Date" or not codes or not distinct or not all(map(_CODE.fullmatch, codes)):
        raise ValueError("its first line doesn't name currencies")
    days: dict[date, Published] = {}
    later = date.max
    for line in lines:
        written, *cells = _cells(line)
        day = date.fromisoformat(written)
        if str(day) != written or day >= later or len(cells) != len(codes):
            raise ValueError(f"the line of {day} has no place there")
        if day <= since:
            break
        rates = {code: cell for code, cell in zip(codes, cells, strict=True) if cell not in _NONE}
        for code, rate in rates.items():
            if not _RATE.fullmatch(rate):
                raise ValueError(f"the rate of {code} on {day} is {rate[:20]!r}")
        if rates:
            days[day] = Published(source, rates)
        later = day
    return days


def _cells(line: str) -> list[str]:
    """A line's values; the ECB ends it with a comma."""
    return line.removesuffix(",").split(",")


def _unzipped(content: bytes) -> bytes:
    if not content.startswith(b"PK"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError("it has more than one file, or none")
            with archive.open(names[0]) as file:
                return _read(cast("_Readable", file))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is no zip ({error})") from error


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _read(file: _Readable) -> bytes:
    """All of it, within bounds of size and time."""
    content, end = bytearray(), time.monotonic() + TIMEOUT_SECONDS
    while chunk := file.read1(1 << 16):
        content += chunk
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        if time.monotonic() > end:
            raise TimeoutError("it comes too slowly")
    return bytes(content)


def fetch(url: str) -> bytes:
    """What a URL of https, http or a local file gives."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        with Path(unquote(parts.path)).open("rb") as file:
            return _read(file)
    # Nothing but http and https: the setting takes no other, and a redirect leads to no file.
    request = urllib.request.Request(  # noqa: S310
        url, headers={"User-Agent": f"terrific-totes/{__version__}"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  # nosec B310
        content = _read(answer)
        if answer.length:  # what is cut off is not told by `read1`
            raise http.client.IncompleteRead(b"", answer.length)
        return content


def expected(now: datetime) -> date:
    """The newest day whose rates must be out by now."""
    at = now.astimezone(UTC)
    day = at.date() if at.hour >= PUBLISHED_UTC_HOUR else at.date() - _DAY
    while not _is_business_day(day):
        day -= _DAY
    return day


def _is_business_day(day: date) -> bool:
    """Not a weekend, nor one of the six days a year on which the ECB's payments rest, too."""
    from_easter = (day - easter(day.year)).days
    closed = (day.month, day.day) in {(1, 1), (5, 1), (12, 25), (12, 26)} or from_easter in {-2, 1}
    return day.isoweekday() <= 5 and not closed  # noqa: PLR2004  Friday
