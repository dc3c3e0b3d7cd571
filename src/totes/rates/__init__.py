"""Exchange rates: the European Central Bank's daily euro reference rates, of every calendar day.

The ECB publishes a rate for some thirty currencies on each business day, in units of the currency
for one euro. A day without one takes the last before it, until the real one is known. Known are
those that come with the program, and newer ones where a URL names the ECB's file.

What a batch brings is worked out from values (`news`); `totes.rates.ecb` reads files and asks.
"""

# ruff: noqa: PLC0415  most runs have nothing to read or to ask

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from totes.lake.manifest import LONGEST_CARRY, RATES, Column, File, Quote, RatesRead, Table, digest

log = logging.getLogger(__name__)

FIRST_DAY = date(2022, 1, 1)
"""Totesys begins in November 2022; its dates don't lie much before."""

ENDED_AFTER = 14
"""A currency that was not among so many published days has ended."""

AGAIN_SECONDS = 600.0
"""How long a URL is left alone once it was asked."""

BUNDLED = "ECB bundled"
DEFINITION = "definition"
"""Where the rates of the euro itself come from."""

BEFORE = FIRST_DAY - timedelta(days=31)
"""No day up to this one is read: the first days have the rates of the month before."""

_DAY = timedelta(days=1)

_COLUMNS = (
    Column(name="rate_id", type="text", kind="text", nullable=False),
    Column(name="rate_date", type="date", kind="text", nullable=False),
    Column(name="currency_code", type="text", kind="text", nullable=False),
    Column(name="rate", type="numeric", kind="text", nullable=False),
    Column(name="source", type="text", kind="text", nullable=False),
    Column(name="carried_forward", type="boolean", kind="boolean", nullable=False),
)


class Published(NamedTuple):
    """What was published on one day: where it was read, and a rate for each currency."""

    source: str
    rates: Mapping[str, str]


class Rate(NamedTuple):
    """The rate of a currency on a day, in the ECB's own digits: a row of the table."""

    day: date
    currency: str
    rate: str
    source: str
    carried: bool

    @property
    def key(self) -> str:
        """The key of the row in the lake: day and currency."""
        return f"{self.day} {self.currency}"

    def line(self) -> str:
        """The row as a JSON line of an ingestion file, without the line break."""
        return (
            f'{{"_op":"upsert","_xid":null,"rate_id":"{self.key}","rate_date":"{self.day}",'
            f'"currency_code":"{self.currency}","rate":"{self.rate}",'
            f'"source":{json.dumps(self.source)},'
            f'"carried_forward":{"true" if self.carried else "false"}}}\n'
        )


@dataclass(frozen=True)
class News:
    """What a batch brings of the rates, how many there are after it, and what it goes on from."""

    upserts: tuple[Rate, ...]
    deletes: tuple[str, ...]
    """Keys of days that a currency was carried to, before it was known to have ended."""
    added: int
    read: RatesRead

    @property
    def rows(self) -> int:
        """Lines in the file: upserts and deletes."""
        return len(self.upserts) + len(self.deletes)

    def write(self, path: Path) -> None:
        """As JSON Lines."""
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(rate.line() for rate in self.upserts)
            gone = '{{"_op":"delete","_xid":null,"rate_id":"{}"}}\n'
            lines.writelines(gone.format(key) for key in self.deletes)

    def table(self, before: Table | None, *written: File) -> Table:
        """The table in this batch."""
        known = before.rows if before else 0
        return Table(
            name=RATES,
            columns=_COLUMNS,
            key=("rate_id",),
            fingerprint=digest(repr(_COLUMNS).encode()),
            whole=before is None,
            files=written,
            rows=known + self.added - len(self.deletes),
            rates=self.read,
        )


def news(read: RatesRead | None, published: Mapping[date, Published], today: date) -> News | None:
    """What is to be told on `today`, after what the lake has (`read`); None where nothing is.

    Through whatever batches it comes, the rates are the same in the end: those of all days to the
    last published one are for good, and what was carried beyond it is replaced.
    """
    quotes = {quote.currency: quote for quote in read.quotes} if read else {}
    first = read.actual + _DAY if read else BEFORE
    last = max(today, read.through) if read else today
    days = {day: found for day, found in published.items() if first <= day <= last}
    actual = max(days, default=read.actual if read else None)
    if actual is None or last < FIRST_DAY:
        return None
    through = min(last, actual + LONGEST_CARRY)
    told: dict[str, Rate] = {}
    if read is not None:
        through = max(through, read.through)
        told = {rate.key: rate for rate in _series(dict(quotes), {}, first, read.through)}
    rates = {rate.key: rate for rate in _series(quotes, days, first, through)}
    upserts = tuple(rate for key, rate in rates.items() if told.get(key) != rate)
    deletes = tuple(key for key in told if key not in rates)
    if not upserts and not deletes:
        return None
    known = RatesRead(
        through=through,
        actual=actual,
        quotes=tuple(quotes[currency] for currency in sorted(quotes)),
    )
    added = sum(rate.key not in told for rate in upserts)
    return News(upserts, deletes, added, known)


def _series(
    quotes: dict[str, Quote], published: Mapping[date, Published], first: date, last: date
) -> Iterator[Rate]:
    """The rates of all days from `first` to `last`; `quotes` are those before, and go along."""
    for ahead in range((last - first).days + 1):
        day = first + ahead * _DAY
        if day in published:
            source, rates = published[day]
            for quote in [*quotes.values()]:
                if quote.currency not in rates:
                    missed = quote.model_copy(update={"missed": quote.missed + 1})
                    quotes[quote.currency] = missed
                    if missed.missed >= ENDED_AFTER:
                        del quotes[quote.currency]
            for currency, rate in rates.items():
                quotes[currency] = Quote.model_construct(
                    currency=currency, day=day, rate=rate, source=source, missed=0
                )
        if day < FIRST_DAY:
            continue
        yield Rate(day, "EUR", "1", DEFINITION, carried=False)
        for quote in quotes.values():
            yield Rate(day, quote.currency, quote.rate, quote.source, carried=quote.day != day)


class Rates:
    """What is known of the ECB's rates: those that came with the program, and those of a URL."""

    def __init__(self, url: str | None = None, bundle: Path | None = None) -> None:
        self._url = url
        self._bundle = bundle
        self._fetched: dict[date, Published] = {}
        self._asked_at: float | None = None

    def refresh(self, read: RatesRead | None, now: datetime | None = None) -> None:
        """Ask the URL, where newer rates than the lake's can be expected there.

        A failure is a warning, and everything stays as it is. It may take its time: not for while
        the source is locked.
        """
        if self._url is None:
            return
        from totes.rates.ecb import UNREADABLE, expected

        known = max([*self._fetched, read.actual if read else date.min])
        if known >= expected(now or datetime.now(UTC)):
            return
        if self._asked_at is not None and time.monotonic() - self._asked_at < AGAIN_SECONDS:
            return
        self._asked_at = time.monotonic()
        try:
            found = published_at(self._url)
            if min(found) > (read.actual if read else FIRST_DAY):
                raise ValueError("what is there begins too late to go on with")
            self._fetched = found
        except UNREADABLE as error:
            log.warning(
                "No newer exchange rates from %s (%s): those known are kept. If this lasts, check "
                "TOTES_RATES_URL.",
                place(self._url),
                str(error)[:200] or type(error).__name__,
            )

    def news(self, read: RatesRead | None, today: date) -> News | None:
        """What a batch of `today` brings, None where it brings nothing; see `news`."""
        newer = read is None or any(day > read.actual for day in self._fetched)
        if not newer and read is not None and read.through == today:
            return None  # the day has its rates: the next one looks at the bundle again
        since = read.actual if read else BEFORE
        return news(read, self._fetched | _bundled(self._bundle, since), today)


def place(url: str) -> str:
    """What may be told of a URL of rates."""
    return urlsplit(url).hostname or "file"


def published_at(url: str) -> dict[date, Published]:
    """The days that a URL has; one of `ecb.UNREADABLE` where it can't be read or has none."""
    from totes.rates.ecb import fetch, parse

    days = parse(fetch(url), place(url), BEFORE)
    if not days:
        raise ValueError(f"it has no day after {BEFORE}")
    return days


@cache
def rates_at(url: str | None) -> Rates:
    """The same ones for the whole process, whoever asks: so is what it remembers of the URL."""
    return Rates(url)


@lru_cache(maxsize=1)
def _bundled(bundle: Path | None, since: date) -> dict[date, Published]:
    from totes.rates.ecb import UNREADABLE, bundled, parse

    try:
        return parse((bundle or bundled()).read_bytes(), BUNDLED, since)
    except UNREADABLE as error:
        log.warning("The exchange rates that come with the program can't be read: %s.", error)
        return {}
