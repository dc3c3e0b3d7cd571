"""The European Central Bank's file of all rates: fetch it, parse it, know when it is updated."""

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
from totes.errors import LakeError
from totes.lake import Store, open_store
from totes.rates import PublishedRates

PUBLISHED_UTC_HOUR = 15
"""The ECB publishes at about 16:00 Central European Time."""

TIMEOUT_SECONDS = 10.0

MAX_BYTES = 32_000_000
"""The most bytes that are read, zipped or not: the file of all rates since 1999 has 2 MB."""

READ_ERRORS = (OSError, ValueError, http.client.HTTPException, LakeError)
"""The errors that `fetch` and `parse` raise."""


class NoFileYet(ValueError):
    """A prefix of a bucket below which no file was stored so far."""


_DAY = timedelta(days=1)
_DAILY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.zip")
_CODE = re.compile("[A-Z]{3}")
_RATE = re.compile(r"(?=.*[1-9])(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?")
_NO_RATE = frozenset({"", "N/A"})


def bundled_path() -> Traversable:
    """Return the path of the file in the package, which `make rates` writes."""
    return files("totes.rates") / "eurofxref.csv"


def parse(content: bytes, source: str, since: date) -> dict[date, PublishedRates]:
    """Return the days after `since` in the ECB's CSV, zipped or not.

    Raises ValueError if it has another format.
    """
    try:
        text = _unzip(content).decode("ascii")
    except UnicodeDecodeError:
        raise ValueError("it is not a CSV file") from None
    if not text.endswith("\n"):
        raise ValueError("its last line is incomplete")
    lines = iter(text.splitlines())
    heading, *codes = _split_cells(next(lines, ""))
    are_distinct = len(set(codes)) == len(codes) and "EUR" not in codes
    if heading != "Date" or not codes or not are_distinct or not all(map(_CODE.fullmatch, codes)):
        raise ValueError("its first line is not a list of currencies")
    days: dict[date, PublishedRates] = {}
    previous_day = date.max
    for line in lines:
        day_text, *cells = _split_cells(line)
        day = date.fromisoformat(day_text)
        if str(day) != day_text or day >= previous_day or len(cells) != len(codes):
            raise ValueError(f"the line of {day} is not in order, or incomplete")
        if day <= since:
            break
        rates = {
            code: cell for code, cell in zip(codes, cells, strict=True) if cell not in _NO_RATE
        }
        for code, rate in rates.items():
            if not _RATE.fullmatch(rate):
                raise ValueError(f"the rate of {code} on {day} is {rate[:20]!r}")
        if rates:
            days[day] = PublishedRates(source, rates)
        previous_day = day
    return days


def _split_cells(line: str) -> list[str]:
    """Return the values of a line, which ends with a comma in the ECB's file."""
    return line.removesuffix(",").split(",")


def _unzip(content: bytes) -> bytes:
    if not content.startswith(b"PK"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError(f"the zip has {len(names)} files instead of one")
            with archive.open(names[0]) as file:
                return _read(cast("_Readable", file))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip can't be read ({error})") from error


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...


def _read(file: _Readable) -> bytes:
    """Return the content; raise an error beyond MAX_BYTES or TIMEOUT_SECONDS."""
    content, deadline = bytearray(), time.monotonic() + TIMEOUT_SECONDS
    while chunk := file.read1(1 << 16):
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"it took longer than {TIMEOUT_SECONDS:.0f} seconds")
    return bytes(content)


def fetch(url: str) -> bytes:
    """Return the content of an https, http or file URL, or of the newest file below an s3 URL.

    Raises one of READ_ERRORS; NoFileYet if an s3 URL has no file.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return _fetch_newest(open_store(url))
    if parts.scheme == "file":
        with Path(unquote(parts.path)).open("rb") as file:
            return _read(file)
    # Only http and https: the setting accepts no other, and urllib redirects to no file URL.
    request = urllib.request.Request(  # noqa: S310
        url, headers={"User-Agent": f"terrific-totes/{__version__}"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310  # nosec B310
        content = _read(response)
        if response.length:  # `read1` raises no error if the connection ends early
            raise http.client.IncompleteRead(b"", response.length)
        return content


def _fetch_newest(store: Store) -> bytes:
    newest = max(filter(_DAILY_FILE.fullmatch, store.list("")), default=None)
    if newest is None:
        raise NoFileYet("it has no file of a day, such as 2026-11-20.zip")
    return store.get(newest)


def newest_expected_day(now: datetime) -> date:
    """Return the newest day whose rates are published by now."""
    now_utc = now.astimezone(UTC)
    day = now_utc.date() if now_utc.hour >= PUBLISHED_UTC_HOUR else now_utc.date() - _DAY
    while not _is_business_day(day):
        day -= _DAY
    return day


def missing_days(newest: date, now: datetime) -> int:
    """Return how many days after `newest` have rates that are published by now."""
    until_now = (newest_expected_day(now) - newest).days
    return sum(_is_business_day(newest + number * _DAY) for number in range(1, until_now + 1))


def _is_business_day(day: date) -> bool:
    """Whether the ECB publishes: not on weekends and the six holidays of its payment system."""
    from_easter = (day - easter(day.year)).days
    is_fixed_holiday = (day.month, day.day) in {(1, 1), (5, 1), (12, 25), (12, 26)}
    is_holiday = is_fixed_holiday or from_easter in {-2, 1}  # Good Friday, Easter Monday
    return day.isoweekday() <= 5 and not is_holiday  # noqa: PLR2004  Friday
