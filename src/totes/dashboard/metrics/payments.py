"""Payments: cash that came and went by the day it was due and paid, and what is still open.

Refunds take away from the cash that came in or went out. Open payments aren't narrowed by the
period: a debt doesn't go away. One that is due in the future is worth what it is at today's rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import pandas as pd

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines, orders
from totes.dashboard.metrics.lines import Grain
from totes.dashboard.metrics.total import Total, Waiting
from totes.dashboard.reading import Reading

FACT = "fact_payment"


@dataclass(frozen=True)
class PaymentsSummary:
    """`receivable` is what others owe us, `payable` what we owe; overdue is part of it."""

    cash_in: Total
    cash_out: Total
    receivable: Total
    payable: Total
    overdue_receivable: Total
    overdue_payable: Total


class _Direction(NamedTuple):
    """A row of `payments_total`."""

    direction: str
    value: Decimal | None
    payments: int
    unconverted: int
    overdue_value: Decimal | None
    overdue_payments: int
    overdue_unconverted: int


def summary(reading: Reading, chosen: Filter) -> PaymentsSummary:
    now = _sums(reading, chosen, paid=True)
    before = None
    if earlier := _compared(reading, chosen, now):
        before = _sums(reading, earlier, paid=True)
    waiting = orders.waiting(reading, chosen, FACT)
    still = _sums(reading, _ever(chosen), paid=False)
    waiting_ever = orders.waiting(reading, _ever(chosen), FACT)
    return PaymentsSummary(
        cash_in=_paid("Cash in", "in", now, before, waiting),
        cash_out=_paid("Cash out", "out", now, before, waiting),
        receivable=_open("Owed to us", still["in"], waiting_ever),
        payable=_open("Owed by us", still["out"], waiting_ever),
        overdue_receivable=_overdue("Overdue to us", still["in"], waiting_ever),
        overdue_payable=_overdue("Overdue by us", still["out"], waiting_ever),
    )


def over_time(reading: Reading, chosen: Filter, grain: Grain | None = None) -> pd.DataFrame:
    """Cash by day, month or year: start, cash_in, cash_out, net, unconverted."""
    return _over_time(reading, chosen, grain or lines.fitting_grain(chosen), paid=True)


def expected(reading: Reading, chosen: Filter, days: int = 30) -> pd.DataFrame:
    """What is open and due on each of the next days, from today on: day, cash_in, cash_out, net."""
    today = choosing.days(reading, chosen.as_of).today
    ahead = chosen.within(today, today + timedelta(days=days - 1))
    return _over_time(reading, ahead, "day", paid=False).rename(columns={"start": "day"})


def ages(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Open payments by how long they have been due: direction, age, payments, value, unconverted.

    All ages of both directions (in: owed to us) are there.
    """
    return reading.run(
        "payments_ages",
        {"converted": lines.payments(chosen)},
        today=choosing.days(reading, chosen.as_of).today,
        **lines.bound_for_payments(reading, _ever(chosen)),
    )


def owed(reading: Reading, chosen: Filter) -> pd.DataFrame:
    """Debts by counterparty, the biggest first.

    Columns: counterparty_id, counterparty, receivable, overdue_receivable, payable,
    overdue_payable, unconverted.
    """
    return reading.run(
        "payments_owed",
        {"converted": lines.payments(chosen, "counterparty")},
        today=choosing.days(reading, chosen.as_of).today,
        **lines.bound_for_payments(reading, _ever(chosen)),
    )


def rows(
    reading: Reading, chosen: Filter, limit: int | None = 1000, offset: int = 0
) -> pd.DataFrame:
    """The paid payments of the period, the newest first."""
    return _rows(reading, chosen, limit, offset, paid=True)


def open_rows(
    reading: Reading,
    chosen: Filter,
    *,
    only_overdue: bool = False,
    limit: int | None = 1000,
    offset: int = 0,
) -> pd.DataFrame:
    """The open payments, the longest due first; `why` is a reason that it was never paid."""
    today = choosing.days(reading, chosen.as_of).today
    until = today - timedelta(days=1) if only_overdue else lines.EVER[1]
    return _rows(reading, chosen.within(lines.EVER[0], until), limit, offset, paid=False)


def _ever(chosen: Filter) -> Filter:
    return replace(chosen, since=lines.EVER[0], until=lines.EVER[1], period="")


def _sums(reading: Reading, chosen: Filter, *, paid: bool) -> dict[str, _Direction]:
    rows = reading.rows(
        "payments_total",
        {"converted": lines.payments(chosen)},
        today=choosing.days(reading, chosen.as_of).today,
        paid=paid,
        **lines.bound_for_payments(reading, chosen),
    )
    return {row[0]: _Direction(*row) for row in rows}


def _compared(reading: Reading, chosen: Filter, now: Mapping[str, _Direction]) -> Filter | None:
    """The equal period before; None also where something is said to be paid after today."""
    today = choosing.days(reading, chosen.as_of).today
    if chosen.since <= today < chosen.until:
        passed = _sums(reading, chosen.within(chosen.since, today), paid=True)
        if any(passed[one].payments != now[one].payments for one in now):
            return None
    return choosing.compared(reading, chosen)


def _over_time(reading: Reading, chosen: Filter, grain: Grain, *, paid: bool) -> pd.DataFrame:
    return reading.run(
        "payments_over_time",
        {"converted": lines.payments(chosen)},
        grain=grain,
        paid=paid,
        **lines.bound_for_payments(reading, chosen),
    )


def _rows(
    reading: Reading,
    chosen: Filter,
    limit: int | None,
    offset: int,
    *,
    paid: bool,
) -> pd.DataFrame:
    return reading.run(
        "payments_rows",
        {
            "payment": lines.facts(chosen)["payment"],
            "whose": lines.whose(chosen),
            "rates": lines.rates(),
        },
        today=choosing.days(reading, chosen.as_of).today,
        paid=paid,
        limit=limit,
        offset=offset,
        **lines.bound_for_payments(reading, chosen),
    )


def _paid(
    name: str,
    direction: str,
    now: dict[str, _Direction],
    before: dict[str, _Direction] | None,
    waiting: Waiting,
) -> Total:
    found = now[direction]
    earlier = before[direction] if before else None
    return Total(
        name,
        found.value,
        None if earlier is None or found.unconverted or earlier.unconverted else earlier.value,
        found.payments,
        found.unconverted,
        waiting,
    )


def _open(name: str, found: _Direction, waiting: Waiting) -> Total:
    return Total(name, found.value, None, found.payments, found.unconverted, waiting)


def _overdue(name: str, found: _Direction, waiting: Waiting) -> Total:
    return Total(
        name, found.overdue_value, None, found.overdue_payments, found.overdue_unconverted, waiting
    )
