"""What is missing from totals: rows in quarantine that belong to them, or may."""

from psycopg import sql

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines
from totes.dashboard.metrics.total import NOTHING_WAITS, Waiting
from totes.dashboard.reading import Reading, part

WHOLE = sql.SQL("'^[0-9]{1,9}$'")
"""A text that may be a key."""


def waiting(reading: Reading, chosen: Filter, fact: str, total: str = "orders") -> Waiting:
    """What waits of a fact for a total, as `waiting.sql` names them; asked once for a reading."""
    known = reading.remembered.get(("waiting", fact, chosen))
    if known is None:
        known = reading.remembered["waiting", fact, chosen] = _waiting(reading, chosen, fact)
    assert isinstance(known, dict)  # noqa: S101  put there above
    found = known.get(total, NOTHING_WAITS)
    assert isinstance(found, Waiting)  # noqa: S101  put there above
    return found


def _waiting(reading: Reading, chosen: Filter, fact: str) -> dict[str, Waiting]:
    if (fact,) not in reading.rows("waits"):  # as a rule
        return {}
    parts = {"whole": WHOLE, "waiting": _rows(chosen, fact)}
    valued = chosen
    if fact == "fact_payment":  # a debt is of any day
        valued = chosen.within(*lines.EVER)
    rows = reading.rows(
        "waiting",
        {**parts, "converted": lines.converted(sql.SQL("narrowed"))},
        fact=fact,
        today=choosing.days(reading, chosen.as_of).today,
        **(lines.bound(reading, valued) | {"since": chosen.since, "until": chosen.until}),
    )
    return {total: Waiting(*sums) for total, *sums in rows}


def _rows(chosen: Filter, fact: str) -> sql.Composable:
    match fact:
        case "fact_sales_order":
            return part("part_waiting_sales")
        case "fact_purchase_order":
            return part("part_waiting_purchases")
        case _:
            orders = {name: one for name, one in lines.facts(chosen).items() if name != "payment"}
            return part("part_waiting_payments", whole=WHOLE, kinds=lines.kinds(), **orders)
