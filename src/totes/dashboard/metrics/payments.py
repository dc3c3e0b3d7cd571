"""Payments: cash that came and went by the day it was due and paid, and what is still open.

Refunds take away from the cash that came in or went out. Open payments aren't narrowed by the
period: a debt doesn't go away. One that is due in the future is worth what it is at today's rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from functools import partial
from typing import Literal, NamedTuple

import pandas as pd
from psycopg import sql

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines, waits
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.named import names
from totes.dashboard.metrics.total import Total, Waiting
from totes.dashboard.reading import Reading, part

FACT = "fact_payment"

type Only = Literal["", "overdue", "never paid"]
"""Which of the open payments."""

NOT_DUE = "not due"
"""The age of open payments that aren't overdue."""


@dataclass(frozen=True)
class PaymentsSummary:
    """`receivable` is what others owe us, `payable` what we owe; overdue is part of it.

    Of these, `before` is what was open when the period began, where history tells that.
    """

    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total
    overdue_receivable: Total
    overdue_payable: Total


@dataclass(frozen=True)
class NeverPaid:
    """What no run of payments pays: due on a weekend, or on the day it was made."""

    receivable: Total
    payable: Total


class _Direction(NamedTuple):
    """A row of `payments_total`."""

    direction: str
    value: Decimal | None
    payments: int
    unconverted: int
    overdue_value: Decimal | None
    overdue_payments: int
    overdue_unconverted: int

    @property
    def overdue(self) -> "_Direction":
        """What of it is overdue."""
        of_it = (self.overdue_value, self.overdue_payments, self.overdue_unconverted)
        return _Direction(self.direction, *of_it, *of_it)


@dataclass(frozen=True)
class _Open:
    """Open payments of one direction; their exact value is of those that have a rate."""

    exact: Decimal
    payments: int
    unconverted: int

    @classmethod
    def of(cls, ages: pd.DataFrame, which: str = "") -> "_Open":
        """All of `ages` together, or `which` of them has columns of its own."""
        with localcontext(prec=_EXACT):
            exact = sum((one for one in ages[f"{which}exact"] if one is not None), Decimal())
        counts = (ages[f"{which}{name}"].sum() for name in ("payments", "unconverted"))
        return cls(exact, *map(int, counts))

    @property
    def told(self) -> tuple[Decimal | None, int, int]:
        """Its value as it is shown, None where there are payments and none has a rate."""
        if self.payments and self.payments == self.unconverted:
            return None, self.payments, self.unconverted
        with localcontext(prec=_EXACT):
            value = self.exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        return value, self.payments, self.unconverted


_EXACT = 1000
"""More digits than a sum has."""


def summary(reading: Reading, chosen: Filter) -> PaymentsSummary:
    """Cash paid and open debts, in the reporting currency, each with the value before."""
    now = _paid(reading, chosen)
    before = None
    if earlier := _compared(reading, chosen, now):
        before = _paid(reading, earlier)
    still = _still_open(reading, chosen)
    then = _open_before(reading, chosen)
    waiting = partial(waits.waiting, reading, chosen, FACT)

    def paid(name: str, way: str, total: str) -> Total:
        return _total(name, now[way], before[way] if before else None, waiting(total))

    def due(name: str, way: str, total: str) -> Total:
        return _total(name, still[way], then[way] if then else None, waiting(total))

    def overdue(name: str, way: str, total: str) -> Total:
        earlier = then[way].overdue if then else None
        return _total(name, still[way].overdue, earlier, waiting(total))

    return PaymentsSummary(
        cash_in=paid("Cash in", "in", "cash_in"),
        cash_out=paid("Cash out", "out", "cash_out"),
        receivable=due("Owed to us", "in", "receivable"),
        payable=due("Owed by us", "out", "payable"),
        overdue_receivable=overdue("Overdue to us", "in", "overdue_receivable"),
        overdue_payable=overdue("Overdue by us", "out", "overdue_payable"),
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Cash by day, month or year: start, cash_in, cash_out, net, unconverted."""
    return reading.run(
        "payments_over_time",
        {"converted": lines.payments(chosen), "kinds": lines.kinds()},
        grain=grain or lines.fitting_grain(chosen),
        **lines.bound_for_payments(reading, chosen),
    )


def expected(reading: Reading, chosen: Filter, days: int = lines.DAYS_AHEAD) -> pd.DataFrame:
    """What is open and due on each of the next days, from today on.

    Columns: day, cash_in, cash_out, net, never_in, never_out, unconverted. What is due on a weekend
    or on the day it was made is paid by no run: that is expected of nobody, and told as `never_…`.
    """
    today = choosing.days(reading, chosen.as_of).today
    ahead = chosen.within(today, today + timedelta(days=days - 1))
    return reading.run(
        "payments_expected",
        {
            "converted": lines.payments(ahead),
            "kinds": lines.kinds(),
            "no_run_pays": lines.no_run_pays(),
        },
        **lines.bound_for_payments(reading, ahead),
    )


def ages(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Open payments by how long they have been due: direction, age, payments, value, unconverted.

    All ages of both directions (in: owed to us) are there.
    """
    return _ages(reading, chosen)[["direction", "age", "payments", "value", "unconverted"]]


def owed(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Debts by counterparty, the biggest first.

    Columns: counterparty_id, counterparty, receivable, overdue_receivable, payable,
    overdue_payable, unconverted.
    """
    return reading.run(
        "payments_owed",
        {
            "converted": lines.payments(chosen, "counterparty"),
            "kinds": lines.kinds(),
            **names(),
        },
        today=choosing.days(reading, chosen.as_of).today,
        **lines.bound_for_payments(reading, chosen.within(*lines.EVER)),
    )


def never_paid(reading: Reading, chosen: Filter) -> NeverPaid:
    """Open payments that are overdue and that no run pays: see `open_rows`."""
    never_paid = _by_way(_ages(reading, chosen), "never_")
    waiting = partial(waits.waiting, reading, chosen, FACT)

    def never(name: str, way: str, total: str) -> Total:
        value, count, unconverted = never_paid[way].told
        return Total(name, value, None, count, unconverted, waiting(total))

    return NeverPaid(
        never("Never paid to us", "in", "never_paid_receivable"),
        never("Never paid by us", "out", "never_paid_payable"),
    )


def of_other_kinds(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Payments of any day of which nobody has said which way they go: kind, payments.

    They are in no sum.
    """
    found = reading.rows("other_kinds", {"kinds": lines.kinds()})
    if not found:  # as a rule
        return pd.DataFrame(columns=["kind", "payments"])
    return reading.run(
        "payments_of_other_kinds",
        {"payments": lines.chosen_payments(chosen)},
        others=[key for key, _ in found],
        **lines.bound_for_payments(reading, chosen.within(*lines.EVER)),
    )


def rows(reading: Reading, chosen: Filter, limit: int | None = None) -> pd.DataFrame:
    """The paid payments of the period, the newest first."""
    return _rows(reading, chosen, limit, paid=True)


def open_rows(
    reading: Reading, chosen: Filter, *, only: Only = "", limit: int | None = None
) -> pd.DataFrame:
    """The open payments, the longest due first; `why` is a reason that it was never paid."""
    return _rows(reading, chosen.within(*lines.EVER), limit, paid=False, only=only)


def _ages(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Open payments by direction and age, whatever day they are due; asked once for a reading."""
    ever = chosen.within(*lines.EVER)

    def ask() -> pd.DataFrame:
        return reading.run(
            "payments_ages",
            {
                "converted": lines.payments(chosen),
                "kinds": lines.kinds(),
                "no_run_pays": lines.no_run_pays(),
            },
            today=choosing.days(reading, chosen.as_of).today,
            **lines.bound_for_payments(reading, ever),
        )

    return reading.once(("ages", ever), ask)


def _by_way(ages: pd.DataFrame, which: str = "") -> dict[str, _Open]:
    return {way: _Open.of(ages[ages["direction"] == way], which) for way in ("in", "out")}


def _still_open(reading: Reading, chosen: Filter) -> dict[str, _Direction]:
    ages = _ages(reading, chosen)
    overdue = _by_way(ages[ages["age"] != NOT_DUE])
    return {
        way: _Direction(way, *total.told, *overdue[way].told)
        for way, total in _by_way(ages).items()
    }


def _paid(reading: Reading, chosen: Filter) -> dict[str, _Direction]:
    return _by_direction(reading, chosen, lines.payments(chosen), paid=True)


def _by_direction(
    reading: Reading,
    chosen: Filter,
    converted: sql.Composable,
    *,
    paid: bool,
    earlier: datetime | None = None,
) -> dict[str, _Direction]:
    today = choosing.days(reading, chosen.as_of).today if earlier is None else earlier.date()
    rows = reading.rows(
        "payments_total",
        {"converted": converted, "kinds": lines.kinds()},
        today=today,
        paid=paid,
        earlier=earlier,
        **lines.bound_for_payments(reading, chosen),
    )
    return {row[0]: _Direction(*row) for row in rows}


def _open_before(reading: Reading, chosen: Filter) -> dict[str, _Direction] | None:
    """What was open when the period began; None where no history tells that."""
    known = choosing.days(reading, chosen.as_of)
    began = datetime.combine(chosen.since, time(), UTC)
    begins = known.history_begins
    if begins is None or not begins <= began <= (chosen.as_of or known.now):
        return None
    ever = chosen.within(*lines.EVER)
    then = lines.payments_then(ever)
    return _by_direction(reading, ever, then, paid=False, earlier=began)


def _compared(reading: Reading, chosen: Filter, now: Mapping[str, _Direction]) -> Filter | None:
    """The equal period before; None also where something is said to be paid after today."""
    today = choosing.days(reading, chosen.as_of).today
    if chosen.since <= today < chosen.until:
        passed = _paid(reading, chosen.within(chosen.since, today))
        if any(passed[one].payments != now[one].payments for one in now):
            return None
    return choosing.compared(reading, chosen)


_NEWEST = sql.SQL("payment.payment_date DESC, payment.payment_id")
_OLDEST = sql.SQL("payment.payment_date, payment.payment_id")


def _rows(
    reading: Reading, chosen: Filter, limit: int | None, *, paid: bool, only: Only = ""
) -> pd.DataFrame:
    conditions = {
        "": sql.SQL("true"),
        "overdue": part("part_overdue"),
        "never paid": lines.never_paid(),
    }
    return reading.run(
        "payments_rows",
        {
            "payment": lines.facts(chosen)["payment"],
            "whose": lines.whose(chosen),
            "only": conditions[only],
            "kinds": lines.kinds(),
            "order": _NEWEST if paid else _OLDEST,
            **lines.of_rows("payment"),
        },
        today=choosing.days(reading, chosen.as_of).today,
        paid=paid,
        limit=limit,
        **lines.bound_for_payments(reading, chosen),
    )


def _total(name: str, now: _Direction, before: _Direction | None, waiting: Waiting) -> Total:
    incomplete = before is None or now.unconverted or before.unconverted
    return Total(
        name,
        now.value,
        None if before is None or incomplete else before.value,
        now.payments,
        now.unconverted,
        waiting,
    )
