"""Exchange rates: the European Central Bank's daily euro reference rates, for every calendar day.

The ECB publishes rates of some thirty currencies on each business day, in units of the currency per
euro. A day without a rate has the last one before it, carried forward until its own is published.
Rates come from a file in the package, and from the ECB's file at a URL if one is set.

`find_update` computes what a batch adds, without I/O. `totes.rates.ecb` reads files and URLs.
"""

# ruff: noqa: PLC0415  most runs read no rates: the imports would only cost time

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

from totes.lake.line import DELETE_WITHOUT_XID, UPSERT_WITHOUT_XID
from totes.lake.manifest import (
    MAX_CARRY_FORWARD,
    RATES,
    Column,
    File,
    Quote,
    RatesState,
    Table,
    sha256_hex,
)

log = logging.getLogger(__name__)

FIRST_DAY = date(2022, 1, 1)
"""The first day with rates. The data of totesys begins in November 2022."""

ENDED_AFTER_DAYS = 14
"""A currency that is missing from this many published days in a row has ended."""

REQUEST_INTERVAL_SECONDS = 600.0
"""The shortest time between two requests to the URL."""

BUNDLED = "ECB bundled"
"""The source of rates from the file in the package."""

DEFINITION = "definition"
"""The source of the euro's own rate."""

READ_AFTER = FIRST_DAY - timedelta(days=31)
"""Days after this one are read: the first days may carry a rate forward from the month before."""

_DAY = timedelta(days=1)

_COLUMNS = (
    Column(name="rate_id", type="text", kind="text", nullable=False),
    Column(name="rate_date", type="date", kind="text", nullable=False),
    Column(name="currency_code", type="text", kind="text", nullable=False),
    Column(name="rate", type="numeric", kind="text", nullable=False),
    Column(name="source", type="text", kind="text", nullable=False),
    Column(name="carried_forward", type="boolean", kind="boolean", nullable=False),
)


class PublishedRates(NamedTuple):
    """The rates published on one day, by currency, and the source they were read from."""

    source: str
    rates: Mapping[str, str]


class Rate(NamedTuple):
    """A row of the table: a currency's rate on a day, with the digits that the ECB published."""

    day: date
    currency: str
    rate: str
    source: str
    is_carried_forward: bool

    @property
    def key(self) -> str:
        """The row's key in the lake: day and currency."""
        return f"{self.day} {self.currency}"

    def to_line(self) -> str:
        """Return the row as a JSON line of an ingestion file."""
        return (
            f'{UPSERT_WITHOUT_XID}"rate_id":"{self.key}","rate_date":"{self.day}",'
            f'"currency_code":"{self.currency}","rate":"{self.rate}",'
            f'"source":{json.dumps(self.source)},'
            f'"carried_forward":{"true" if self.is_carried_forward else "false"}}}\n'
        )


@dataclass(frozen=True)
class RatesUpdate:
    """The rows that a batch changes in the table of rates.

    `deletes` are the keys of rates that were carried forward to days after a currency had ended.
    `added` is the number of upserts with a new key. `state` is what the next update starts from.
    """

    upserts: tuple[Rate, ...]
    deletes: tuple[str, ...]
    added: int
    state: RatesState

    @property
    def rows(self) -> int:
        """The number of lines in the file: upserts and deletes."""
        return len(self.upserts) + len(self.deletes)

    def write(self, path: Path) -> None:
        """Write the rows as JSON Lines."""
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(rate.to_line() for rate in self.upserts)
            lines.writelines(f'{DELETE_WITHOUT_XID}"rate_id":"{key}"}}\n' for key in self.deletes)

    def to_table(self, previous: Table | None, *files: File) -> Table:
        """Return the table's manifest entry, from that of the last batch and the written files."""
        return Table(
            name=RATES,
            columns=_COLUMNS,
            key=("rate_id",),
            fingerprint=sha256_hex(repr(_COLUMNS).encode()),
            whole=previous is None,
            files=files,
            rows=(previous.rows if previous else 0) + self.added - len(self.deletes),
            rates=self.state,
        )


def find_update(
    state: RatesState | None, published: Mapping[date, PublishedRates], today: date
) -> RatesUpdate | None:
    """Return what a batch on `today` changes in the table; None if nothing.

    `state` describes the table in the lake; None if it is empty. However the days are divided into
    batches, the table is the same in the end: rates of days up to the last published one never
    change, and rates carried forward beyond it are replaced.
    """
    quotes = {quote.currency: quote for quote in state.quotes} if state else {}
    first = state.actual + _DAY if state else READ_AFTER
    last = max(today, state.through) if state else today
    new_days = {day: rates for day, rates in published.items() if first <= day <= last}
    actual = max(new_days, default=state.actual if state else None)
    if actual is None or last < FIRST_DAY:
        return None
    through = min(last, actual + MAX_CARRY_FORWARD)
    stored: dict[str, Rate] = {}
    if state is not None:
        through = max(through, state.through)
        stored = {rate.key: rate for rate in _fill_days(dict(quotes), {}, first, state.through)}
    rates = {rate.key: rate for rate in _fill_days(quotes, new_days, first, through)}
    upserts = tuple(rate for key, rate in rates.items() if stored.get(key) != rate)
    deletes = tuple(key for key in stored if key not in rates)
    if not upserts and not deletes:
        return None
    new_state = RatesState(
        through=through,
        actual=actual,
        quotes=tuple(quotes[currency] for currency in sorted(quotes)),
    )
    added = sum(rate.key not in stored for rate in upserts)
    return RatesUpdate(upserts, deletes, added, new_state)


def _fill_days(
    quotes: dict[str, Quote], published: Mapping[date, PublishedRates], first: date, last: date
) -> Iterator[Rate]:
    """Yield the rates of all days from `first` to `last`.

    `quotes` are the last rates before `first`; they are updated to the last rates as of `last`.
    """
    for number in range((last - first).days + 1):
        day = first + number * _DAY
        if day in published:
            source, rates = published[day]
            for quote in [*quotes.values()]:
                if quote.currency not in rates:
                    missed = quote.model_copy(update={"missed": quote.missed + 1})
                    quotes[quote.currency] = missed
                    if missed.missed >= ENDED_AFTER_DAYS:
                        del quotes[quote.currency]
            for currency, rate in rates.items():
                quotes[currency] = Quote.model_construct(
                    currency=currency, day=day, rate=rate, source=source, missed=0
                )
        if day < FIRST_DAY:
            continue
        yield Rate(day, "EUR", "1", DEFINITION, is_carried_forward=False)
        for quote in quotes.values():
            is_carried_forward = quote.day != day
            yield Rate(
                day,
                quote.currency,
                quote.rate,
                quote.source,
                is_carried_forward=is_carried_forward,
            )


class RateFeed:
    """The published rates: those in the package, and those last fetched from a URL."""

    def __init__(self, url: str | None = None, bundled_file: Path | None = None) -> None:
        self._url = url
        self._bundled_file = bundled_file
        self._fetched: dict[date, PublishedRates] = {}
        self._requested_at: float | None = None

    def refresh(self, state: RatesState | None, now: datetime | None = None) -> None:
        """Fetch the URL if newer rates than those in the lake are expected there.

        If this fails, a warning is logged. It may take TIMEOUT_SECONDS: don't call it while the
        source's tables are locked.
        """
        if self._url is None:
            return
        from totes.rates.ecb import READ_ERRORS, NoFileYet, newest_expected_day

        newest_day = max([*self._fetched, state.actual if state else date.min])
        if newest_day >= newest_expected_day(now or datetime.now(UTC)):
            return
        clock = time.monotonic()
        if self._requested_at is not None and clock - self._requested_at < REQUEST_INTERVAL_SECONDS:
            return
        self._requested_at = clock
        try:
            days = fetch_published(self._url)
            if min(days) > (state.actual if state else FIRST_DAY):
                raise ValueError(f"it begins on {min(days)}, after a gap")
            self._fetched = days
        except NoFileYet:
            log.info(
                "There are no exchange rates in %s yet: those of the package are used.",
                host_name(self._url),
            )
        except READ_ERRORS as error:
            log.warning(
                "No newer exchange rates from %s (%s): the present rates stay in use. If this "
                "continues, check TOTES_RATES_URL.",
                host_name(self._url),
                str(error)[:200] or type(error).__name__,
            )

    def find_update(self, state: RatesState | None, today: date) -> RatesUpdate | None:
        """Return what a batch on `today` changes in the table; see the function `find_update`."""
        has_newer = state is None or any(day > state.actual for day in self._fetched)
        if not has_newer and state is not None and state.through == today:
            return None  # today's rates are in the table already
        since = state.actual if state else READ_AFTER
        return find_update(state, self._fetched | _read_bundled(self._bundled_file, since), today)


def host_name(url: str) -> str:
    """Return the part of a URL that may be logged: host or bucket; `file` for a file."""
    return urlsplit(url).hostname or "file"


def fetch_published(url: str) -> dict[date, PublishedRates]:
    """Return the published days at a URL.

    Raises one of `ecb.READ_ERRORS` if it can't be read, or has no day; `ecb.NoFileYet` if it is a
    prefix of a bucket without a file.
    """
    from totes.rates.ecb import fetch, parse

    days = parse(fetch(url), host_name(url), READ_AFTER)
    if not days:
        raise ValueError(f"it has no day after {READ_AFTER}")
    return days


@cache
def rate_feed(url: str | None) -> RateFeed:
    """Return the process's only RateFeed for a URL, which remembers what it fetched and when."""
    return RateFeed(url)


@lru_cache(maxsize=1)
def _read_bundled(bundled_file: Path | None, since: date) -> dict[date, PublishedRates]:
    from totes.rates.ecb import READ_ERRORS, bundled_path, parse

    try:
        return parse((bundled_file or bundled_path()).read_bytes(), BUNDLED, since)
    except READ_ERRORS as error:
        log.warning("The exchange rates in the package can't be read: %s.", error)
        return {}
