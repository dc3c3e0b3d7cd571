"""Files of exchange rates as the ECB publishes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import lake_reader
from installation import Installation

from totes.lake.manifest import (
    Manifest,
)
from totes.rates import (
    BUNDLED,
    DEFINITION,
    ENDED_AFTER_DAYS,
    FIRST_DAY,
    Rate,
    RateFeed,
)
from totes.stages.runner import run_once

DAY = timedelta(days=1)
Quoted = Mapping[date, Mapping[str, str]]


def csv(quoted: Quoted) -> bytes:
    """Return rates as the ECB's file has them, the newest day first."""
    codes = sorted({code for rates in quoted.values() for code in rates})
    lines = [f"Date,{','.join(codes)},"]
    lines += [
        f"{day},{','.join(quoted[day].get(code, 'N/A') for code in codes)},"
        for day in sorted(quoted, reverse=True)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def zipped(content: bytes, *names: str) -> bytes:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for name in names or ("eurofxref-hist.csv",):
            archive.writestr(ZipInfo(name), content)  # always with the same time
    return packed.getvalue()


def expected_rates(quoted: Quoted, today: date) -> dict[str, Rate]:
    """Return the rows expected on `today`, computed for each day and currency separately."""
    days = sorted(day for day in quoted if day <= today)
    currencies = {code for rates in quoted.values() for code in rates}
    expected: dict[str, Rate] = {}
    for number in range((today - FIRST_DAY).days + 1):
        day = FIRST_DAY + number * DAY
        published_days = [published_day for published_day in days if published_day <= day]
        rates = [Rate(day, "EUR", "1", DEFINITION, is_carried_forward=False)]
        for code in currencies:
            with_rate = [
                published_day for published_day in published_days if code in quoted[published_day]
            ]
            if not with_rate:
                continue
            last = with_rate[-1]
            if published_days.index(last) + ENDED_AFTER_DAYS > len(published_days) - 1:
                rates.append(Rate(day, code, quoted[last][code], BUNDLED, last != day))
        expected |= {rate.key: rate for rate in rates}
    return expected


NEW_YEAR: Quoted = {FIRST_DAY - DAY: {"GBP": "0.84028", "USD": "1.1326"}}


@dataclass
class Days:
    """An installation with rates from a file, whose source has a clock that tests move."""

    installation: Installation
    url: Path
    move: Callable[[int], None]
    first: date

    def publish(self, quoted: Quoted) -> None:
        """Write these rates to the URL, in addition to those in the package."""
        self.url.write_bytes(csv({**BUNDLE, **quoted}))

    def run(self) -> list[int]:
        """Run all stages as a new process would; return the loaded batches."""
        rates = self.installation.rates and RateFeed(
            self.url.as_uri(), self.url.with_name("bundle.csv")
        )
        pipeline = replace(self.installation.pipeline, rates=rates)
        return [done.batch for done in run_once(pipeline) if done.stage == "load" and done.batch]

    def rates(self, day: date) -> dict[str, tuple[Decimal, str, bool]]:
        rows = self.installation.query(
            "SELECT currency_code, rate, source, carried_forward FROM current_exchange_rate"
            f" WHERE rate_date = '{day}'"
        )
        return {code: tuple(rest) for code, *rest in rows}

    def batches(self) -> list[Manifest]:
        return lake_reader.batches(self.installation.pipeline.ingestion)


BUNDLE: Quoted = {
    date(2021, 12, 31): {"GBP": "0.84028", "USD": "1.1326"},
    date(2022, 11, 3): {"GBP": "0.87228", "USD": "0.9753"},
    date(2022, 11, 30): {"GBP": "0.85498", "USD": "1.0826"},
}
