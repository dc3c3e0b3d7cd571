"""Payments: cash by the day of the payment, and open payments.

Refunds are subtracted. Open payments are those of all days, regardless of the period; amounts that
are due in the future are converted at the last rate.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import partial
from typing import Literal, NamedTuple

import pandas as pd

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import periods, quarantined
from totes.dashboard.metrics.grain import Grain, default_grain
from totes.dashboard.metrics.total import Quarantined, Total
from totes.dashboard.reading import Reading

EXPECTED_DAYS = 30
"""How many days of expected payments are shown."""

FACT = "fact_payment"

type Only = Literal["", "overdue", "uncovered"]
"""Open payments: all, overdue ones, or overdue ones that payment runs do not cover."""

NOT_DUE = "not due"
"""The age of open payments that aren't overdue."""


@dataclass(frozen=True)
class PaymentsSummary:
    """Cash of the period, and open payments, of which overdue ones are a part.

    `before` of open payments is the amount at the beginning of the period, if history reaches back.
    """

    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total
    overdue_receivable: Total
    overdue_payable: Total


@dataclass(frozen=True)
class UncoveredPayments:
    """Overdue payments that payment runs skip: due on a weekend or on their creation date."""

    receivable: Total
    payable: Total


class _Direction(NamedTuple):
    """Payments of a direction, and those of them that are overdue."""

    direction: str
    value: Decimal | None
    payments: int
    unconverted: int
    overdue_value: Decimal | None = None
    overdue_payments: int = 0
    overdue_unconverted: int = 0

    @property
    def overdue(self) -> "_Direction":
        """The overdue part."""
        sums = (self.overdue_value, self.overdue_payments, self.overdue_unconverted)
        return _Direction(self.direction, *sums, *sums)


@dataclass(frozen=True)
class _Open:
    """Open payments of one direction, with the unrounded sum of those that have a rate."""

    exact: Decimal
    payments: int
    unconverted: int

    @classmethod
    def of(cls, ages: pd.DataFrame, prefix: str = "") -> "_Open":
        """Return the sum of `ages`, by the columns with a prefix."""
        with localcontext(prec=_EXACT):
            high, low = (
                sum((one for one in ages[f"{prefix}{part}"] if one is not None), Decimal())
                for part in ("high", "low")
            )
            exact = high + low.scaleb(-24)
        counts = (ages[f"{prefix}{name}"].sum() for name in ("payments", "unconverted"))
        return cls(exact, *map(int, counts))

    @property
    def rounded(self) -> tuple[Decimal | None, int, int]:
        """Value, payments, unconverted; the value is None if there are payments without rates."""
        if self.payments and self.payments == self.unconverted:
            return None, self.payments, self.unconverted
        with localcontext(prec=_EXACT):
            value = self.exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        return value, self.payments, self.unconverted


_EXACT = 1000
"""Digits of a context in which sums are exact."""


def summary(reading: Reading, criteria: Filter) -> PaymentsSummary:
    """Return cash and open payments in the reporting currency, each with the value before."""
    now, ends_today = _paid(reading, criteria)
    before = None
    compared = periods.comparison(reading, criteria) if ends_today else None
    if compared:
        before, _ = _paid(reading, compared.previous)
    scale = compared.scale if compared else Fraction(1)
    open_now = _open_now(reading, criteria)
    open_before = _open_before(reading, criteria)
    in_quarantine = partial(quarantined.for_total, reading, criteria, FACT)

    def paid(metric: str, way: str) -> Total:
        earlier = before[way] if before else None
        return replace(_total(metric, now[way], earlier, in_quarantine(metric)), scale=scale)

    def due(metric: str, way: str) -> Total:
        earlier = open_before[way] if open_before else None
        return _total(metric, open_now[way], earlier, in_quarantine(metric))

    def overdue(metric: str, way: str) -> Total:
        earlier = open_before[way].overdue if open_before else None
        return _total(metric, open_now[way].overdue, earlier, in_quarantine(metric))

    return PaymentsSummary(
        cash_in=paid("cash_in", "in"),
        cash_out=paid("cash_out", "out"),
        receivable=due("receivable", "in"),
        payable=due("payable", "out"),
        overdue_receivable=overdue("overdue_receivable", "in"),
        overdue_payable=overdue("overdue_payable", "out"),
    )


def over_time(reading: Reading, criteria: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Return cash by day, week, month or year: start, cash_in, cash_out, net, unconverted."""
    return reading.run("payments_over_time", criteria, grain=grain or default_grain(criteria))


def expected(reading: Reading, criteria: Filter, days: int = EXPECTED_DAYS) -> pd.DataFrame:
    """Return the open payments that are due on each of the next days, from today on.

    Columns: day, cash_in, cash_out, net, uncovered_in, uncovered_out, unconverted. Payment runs do
    not cover payments that are due on a weekend or on their creation date, so these are not
    expected; their sums are in `uncovered_…`.
    """
    today = periods.days(reading, criteria.as_of).today
    ahead = criteria.within(today, today + timedelta(days=days - 1))
    return reading.run("payments_expected", ahead, grain="day")


def ages(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return open payments by days overdue: direction, age, payments, value, unconverted.

    There is a row for each age and direction (`in`: receivable, `out`: payable).
    """
    return _ages(reading, criteria)[["direction", "age", "payments", "value", "unconverted"]]


def owed(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return receivables and payables by counterparty, the largest first.

    Columns: counterparty_id, counterparty, receivable, overdue_receivable, payable,
    overdue_payable, unconverted.
    """
    today = periods.days(reading, criteria.as_of).today
    return reading.run("payments_owed", criteria, today=today)


def uncovered(reading: Reading, criteria: Filter) -> UncoveredPayments:
    """Return overdue payments that payment runs do not cover."""
    sums = _by_direction(_ages(reading, criteria), "uncovered_")
    in_quarantine = partial(quarantined.for_total, reading, criteria, FACT)

    def overdue(metric: str, way: str) -> Total:
        value, count, unconverted = sums[way].rounded
        return Total(metric, value, None, count, unconverted, in_quarantine(metric))

    return UncoveredPayments(
        overdue("uncovered_receivable", "in"), overdue("uncovered_payable", "out")
    )


def unclassified_types(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return the number of payments by unclassified type: kind, payments.

    It is unknown whether these are cash in or cash out; totals exclude them.
    """
    return reading.run("unclassified_types", criteria)


def rows(reading: Reading, criteria: Filter, limit: int | None = None) -> pd.DataFrame:
    """Return the paid payments of the period, the newest first."""
    return _rows(reading, criteria, limit, "paid")


def open_rows(
    reading: Reading, criteria: Filter, *, only: Only = "", limit: int | None = None
) -> pd.DataFrame:
    """Return open payments, the longest overdue first.

    `why` is the reason if payment runs do not cover an overdue payment.
    """
    return _rows(reading, criteria, limit, only or "open")


def _ages(reading: Reading, criteria: Filter) -> pd.DataFrame:
    """Return open payments of all days by direction and age, from the reading's cache."""
    today = periods.days(reading, criteria.as_of).today
    key = ("ages", criteria.within(*ALL_DAYS))
    return reading.cached(key, lambda: reading.run("payments_ages", criteria, today=today))


def _by_direction(ages: pd.DataFrame, prefix: str = "") -> dict[str, _Open]:
    return {way: _Open.of(ages[ages["direction"] == way], prefix) for way in ("in", "out")}


def _open_now(reading: Reading, criteria: Filter) -> dict[str, _Direction]:
    ages = _ages(reading, criteria)
    overdue = _by_direction(ages[ages["age"] != NOT_DUE])
    return {
        way: _Direction(way, *total.rounded, *overdue[way].rounded)
        for way, total in _by_direction(ages).items()
    }


def _paid(reading: Reading, criteria: Filter) -> tuple[dict[str, _Direction], bool]:
    """Return cash by direction, and whether no paid payment is dated after today."""
    today = periods.days(reading, criteria.as_of).today
    rows = reading.rows("payments_total", criteria, today=today)
    return {row[0]: _Direction(*row[:-1]) for row in rows}, not any(row[-1] for row in rows)


def _open_before(reading: Reading, criteria: Filter) -> dict[str, _Direction] | None:
    """Return the payments open at the beginning of the period; None before the first capture."""
    calendar = periods.days(reading, criteria.as_of)
    start = datetime.combine(criteria.since, time(), UTC)
    begins = calendar.history_begins
    if begins is None or not begins <= start <= (criteria.as_of or calendar.now):
        return None
    rows = reading.rows("debts_at", criteria, moments=[start])
    return {row[0]: _Direction(*row) for row in rows}


def _rows(reading: Reading, criteria: Filter, limit: int | None, which: str) -> pd.DataFrame:
    today = periods.days(reading, criteria.as_of).today
    return reading.run("payment_rows", criteria, which=which, today=today, row_limit=limit)


def _total(
    metric: str, now: _Direction, before: _Direction | None, quarantined: Quarantined
) -> Total:
    incomplete = before is None or now.unconverted or before.unconverted
    return Total(
        metric,
        now.value,
        None if before is None or incomplete else before.value,
        now.payments,
        now.unconverted,
        quarantined,
    )


@dataclass(frozen=True)
class DaysToPay:
    """The payments of one direction that were paid in a period."""

    payments: int
    days: int
    days_late: int

    @property
    def average(self) -> Decimal | None:
        """The days from the creation of a payment until it was paid, None without payments."""
        return _average(self.days, self.payments)

    @property
    def average_late(self) -> Decimal | None:
        """The days from the day a payment was due until it was paid; 0 for earlier ones."""
        return _average(self.days_late, self.payments)


def days_to_pay(reading: Reading, criteria: Filter) -> dict[str, DaysToPay]:
    """Return the payments made in the period by direction (`in`, `out`), without refunds."""
    return {way: DaysToPay(*sums) for way, *sums in reading.rows("days_to_pay", criteria)}


def _average(total: int, count: int) -> Decimal | None:
    if not count:
        return None
    return (Decimal(total) / count).quantize(Decimal("0.1"), ROUND_HALF_UP)
