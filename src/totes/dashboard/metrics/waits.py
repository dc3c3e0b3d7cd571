"""What quarantine keeps from totals: rows that belong to them, or may, and newer versions."""

from psycopg import sql

from totes.dashboard.filters import Filter
from totes.dashboard.metrics import choosing, lines
from totes.dashboard.metrics.total import NOTHING_WAITS, Waiting
from totes.dashboard.reading import Reading, part

WHOLE = sql.SQL("'^[0-9]{1,9}$'")
"""A text that may be a key."""

_SALE = {
    "quantity": sql.SQL("'units_sold'"),
    "price": sql.SQL("'unit_price'"),
    "place": sql.SQL("'agreed_delivery_location_id'"),
    "places": sql.Identifier("dim_location"),
    "place_id": sql.Identifier("location_id"),
    "chosen_places": sql.Placeholder("location_ids"),
    "staff": sql.SQL("'sales_staff_id'"),
}
_PURCHASE = {
    "quantity": sql.SQL("'item_quantity'"),
    "price": sql.SQL("'item_unit_price'"),
    "place": sql.SQL("'counterparty_id'"),
    "places": sql.Identifier("dim_counterparty"),
    "place_id": sql.Identifier("counterparty_id"),
    "chosen_places": sql.Placeholder("home_ids"),
    "staff": sql.SQL("'staff_id'"),
}
"""What orders of each kind are called, and what tells their country."""


def waiting(reading: Reading, chosen: Filter, fact: str, total: str = "orders") -> Waiting:
    """What waits of a fact for a total, as `waiting.sql` names them; asked once for a reading."""
    known = reading.once(("waiting", fact, chosen), lambda: _waiting(reading, chosen, fact))
    return known.get(total, NOTHING_WAITS)


def _waiting(reading: Reading, chosen: Filter, fact: str) -> dict[str, Waiting]:
    if (fact,) not in reading.rows("waits"):  # as a rule
        return {}
    days = {name: part("part_day", text=sql.Identifier(name)) for name in ("day", "made")}
    kind = fact.removeprefix("fact_")
    counted = {"earlier": lines.facts(chosen)[kind], "key": sql.Identifier(f"{kind}_id")}
    parts = {"whole": WHOLE, "waiting": _rows(chosen, fact), **days, **counted}
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
            return part("part_waiting_orders", **_SALE)
        case "fact_purchase_order":
            return part("part_waiting_orders", **_PURCHASE)
        case _:
            orders = {name: one for name, one in lines.facts(chosen).items() if name != "payment"}
            return part("part_waiting_payments", whole=WHOLE, kinds=lines.kinds(), **orders)
