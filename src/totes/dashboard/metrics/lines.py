"""Where the rows of a question come from: daily totals where they can answer it, else the facts."""

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

from psycopg import sql

from totes.dashboard.filters import FIRST_YEAR, LAST_YEAR, Filter
from totes.dashboard.metrics.named import names as called
from totes.dashboard.metrics.named import namesakes
from totes.dashboard.reading import NO_PARTS, Parts, Reading, part

Grain = Literal["day", "month", "year"]

EVER = (date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31))
"""Every day that the star may hold."""

DAYS, MONTHS = 92, 3 * 366
"""So many days of a period are told by day, so many by month, and more by year."""

DAYS_AHEAD = 30
"""Of so many days the expected payments are told."""

_SALES = ("counterparty", "staff", "location", "design")
_PURCHASES = ("counterparty", "staff")
"""What daily totals of orders are grouped by."""

_OF_ALL = {"currency_ids": "currency_id", "counterparties": "counterparty_id"}
_NARROWED: Mapping[str, Mapping[str, str]] = {
    "sale": {**_OF_ALL, "location_ids": "location_id", "staff_ids": "staff_id"},
    "purchase": {**_OF_ALL, "home_ids": "counterparty_id", "staff_ids": "staff_id"},
    "payment": {**_OF_ALL, "home_ids": "counterparty_id"},
}
"""What a filter narrows, by the column that tells it; a payment's staff are its order's."""

_IN_FACTS = {"location_id": "agreed_delivery_location_id", "staff_id": "sales_staff_id"}
"""What a sale's columns are called in the facts."""


def fitting_grain(chosen: Filter) -> Grain:
    """What a period is told by: what one goes into from there is one of the next smaller kind."""
    if chosen.days <= DAYS:
        return "day"
    return "month" if chosen.days <= MONTHS else "year"


def bound(reading: Reading, chosen: Filter) -> dict[str, Any]:
    """The values of a filter that queries bind; NULL narrows nothing.

    What it names is looked up once for a reading, and so are the rates of its days.
    """
    names: dict[str, Any] = {
        "currencies": list(chosen.currencies) or None,
        "countries": list(chosen.countries) or None,
        "departments": list(chosen.departments) or None,
        "reporting": chosen.reporting,
    }
    named = (chosen.currencies, chosen.countries, chosen.departments, chosen.reporting)
    ids = _looked_up(reading, "ids", named, values=names)
    return {
        **names,
        **ids,
        **_rates_of_days(reading, chosen),
        "since": chosen.since,
        "until": chosen.until,
        **namesakes(reading),
        "counterparties": list(chosen.counterparties) or None,
        "as_of": chosen.as_of,
    }


def _rates_of_days(reading: Reading, chosen: Filter) -> dict[str, Any]:
    """The rates of a filter's days as two arrays: keys of day and currency, and factors.

    They are asked for with some days more, as the page's other questions are about the time before
    and the weeks to come: those take them, too.
    """
    asked: list[tuple[date, date]] = reading.once(
        ("days of rates", chosen.reporting, chosen.as_of), list
    )
    enough = (days for days in asked if days[0] <= chosen.since and chosen.until <= days[1])
    if (days := next(enough, None)) is None:
        days = _with_days_around(chosen)
        asked.append(days)
    known_at = rates_known_at(reading, chosen.as_of)
    return _looked_up(
        reading,
        "rates",
        (*days, chosen.reporting, chosen.as_of),
        {
            "known": known_rates(chosen.as_of),
            "key": rate_key(sql.Identifier("day"), sql.Identifier("currency_id")),
        },
        values={
            "since": days[0],
            "until": days[1],
            "reporting": chosen.reporting,
            "known_at": known_at,
        },
    )


def _with_days_around(chosen: Filter) -> tuple[date, date]:
    """The equal period before it, and the weeks to come that are asked about."""
    first, last = EVER
    before = timedelta(days=min(chosen.days, (chosen.since - first).days))
    ahead = timedelta(days=min(DAYS_AHEAD, (last - chosen.until).days))
    return chosen.since - before, chosen.until + ahead


def bound_for_payments(reading: Reading, chosen: Filter) -> dict[str, Any]:
    """The same; of the past also what the orders of the chosen departments' staff led to."""
    values = bound(reading, chosen)
    if not chosen.departments or chosen.as_of is None:
        return values
    orders = {name: fact for name, fact in facts(chosen).items() if name != "payment"}
    staff = {"staff_ids": values["staff_ids"], "as_of": chosen.as_of}
    key = (chosen.departments, chosen.as_of)
    return values | _looked_up(reading, "transactions_of_staff", key, orders, values=staff)


def _looked_up(
    reading: Reading,
    name: str,
    key: tuple[object, ...],
    parts: Parts = NO_PARTS,
    *,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """The one row of a query by its columns' names, asked once for a reading."""
    return reading.once((name, *key), lambda: reading.row(name, parts, **values))


def facts(chosen: Filter) -> dict[str, sql.Composable]:
    """The facts as they are, or as they stood: never their history."""
    names = ("sales_order", "purchase_order", "payment")
    if chosen.as_of is None:
        return {name: sql.Identifier(f"current_{name}") for name in names}
    return {
        name: sql.SQL("{}(%(as_of)s)").format(sql.Identifier(f"{name}_as_of")) for name in names
    }


def rates_known_at(reading: Reading, as_of: datetime | None) -> datetime | None:
    """The moment whose rates are taken: before any were known, that of the first ones."""
    if as_of is None:
        return None
    begins = _looked_up(reading, "rates_begin", (), values={})["begins"]
    return max(as_of, begins) if begins else as_of


def known_rates(as_of: datetime | None) -> sql.Composable:
    """All rates, as they are or as they were `known_at` a moment."""
    if as_of is None:
        return sql.Identifier("current_exchange_rate")
    return sql.SQL("exchange_rate_as_of(%(known_at)s)")


def rate_key(day: sql.Identifier, currency: sql.Identifier) -> sql.Composable:
    """SQL of the key of one currency's exchange rate on one day, as `rates.sql` has it."""
    return part("part_rate_key", day=day, currency_id=currency)


def of_rows(what: str) -> dict[str, sql.Composable]:
    """What questions for the rows of a fact (sale, purchase, payment) are made of beside it."""
    names = _IN_FACTS if what == "sale" else {}
    day = "payment_date" if what == "payment" else "created_date"
    return {
        **called(),
        "narrowed": narrowed(what, names),
        "rates": part("part_rates"),
        "rate_key": rate_key(sql.Identifier(what, day), sql.Identifier(what, "currency_id")),
        "factor": part("part_factor"),
    }


def narrowed(what: str, names: Mapping[str, str] = MappingProxyType({})) -> sql.Composable:
    """The condition that a filter chooses a sale, purchase or payment."""
    return sql.SQL(" AND ").join(
        part(
            "part_among",
            chosen=sql.Placeholder(chosen),
            key=sql.Identifier(what, names.get(column, column)),
        )
        for chosen, column in _NARROWED[what].items()
    )


def all_sales(chosen: Filter, *needed: str) -> sql.Composable:
    """Every sale, whatever its day, by what is `needed` of it."""
    if totals := _totals(chosen, "daily_sales", _SALES, needed):
        return totals
    return part("part_sales_of_facts", **facts(chosen))


def all_purchases(chosen: Filter, *needed: str) -> sql.Composable:
    """Every purchase, whatever its day, by what is `needed` of it."""
    if totals := _totals(chosen, "daily_purchases", _PURCHASES, needed):
        return totals
    return part("part_purchases_of_facts", **facts(chosen))


def sales(chosen: Filter, *needed: str) -> sql.Composable:
    """The sales that a filter chooses, with their value in the reporting currency."""
    looked_at = _looked_at(chosen, country="location")
    return converted(_chosen("sale", all_sales(chosen, *needed, *looked_at)))


def purchases(chosen: Filter, *needed: str) -> sql.Composable:
    """The purchases that a filter chooses, with their value in the reporting currency."""
    looked_at = _looked_at(chosen, country="counterparty")
    return converted(_chosen("purchase", all_purchases(chosen, *needed, *looked_at)))


def payments(chosen: Filter, *needed: str) -> sql.Composable:
    """The payments that a filter chooses, with their value in the reporting currency."""
    return converted(chosen_payments(chosen, *needed))


def chosen_payments(chosen: Filter, *needed: str) -> sql.Composable:
    """The same in their own currencies."""
    return _chosen("payment", _all_payments(chosen, *needed))


def payments_then(chosen: Filter) -> sql.Composable:
    """Those that it would have chosen at an earlier moment.

    At the rates known now, so that each payment is worth the same on both sides of a comparison:
    what has changed is the debt and not the rate of its day.
    """
    return converted(_chosen("payment", part("part_payments_then", **_versions(chosen))))


def debts(chosen: Filter) -> Parts:
    """What is open is made of: all payments, and the changes that a filter chooses."""
    return {
        **_versions(chosen),
        "narrowed": narrowed("payment"),
        "kinds": kinds(),
        "converted": converted(sql.Identifier("chosen")),
    }


def _versions(chosen: Filter) -> dict[str, sql.Composable]:
    """What is asked of payments' history, up to now or to the moment that the filter names."""
    begun, ended = sql.SQL("valid_from <= %(as_of)s"), sql.SQL("valid_to <= %(as_of)s")
    true_now: sql.Composable = part("part_true_then", begun=begun, ended=ended)
    if chosen.as_of is None:
        begun, ended = sql.SQL("true"), sql.SQL("valid_to IS NOT NULL")
        true_now = sql.SQL("valid_to IS NULL")
    return {
        "source": _all_payments(chosen),
        "whose": whose(chosen),
        "whose_last": _whose_last(chosen),
        "begun": begun,
        "true_now": true_now,
        "ended": ended,
    }


def _all_payments(chosen: Filter, *needed: str) -> sql.Composable:
    """Every payment, whatever its day, by what is `needed` of it."""
    if chosen.as_of is not None:
        return part("part_payments_of_facts", **_payments(chosen))
    looked_at = {*needed, *_looked_at(chosen, country="counterparty")}
    by = [name for name in ("staff", "counterparty") if name in looked_at]
    known, unknown = sql.Identifier("counterparty_id"), sql.SQL("NULL::integer")
    return part(
        "part_payments_of_totals",
        totals=sql.Identifier("totes", "_by_".join(["daily_payments", *by])),
        counterparty_id=known if "counterparty" in by else unknown,
        whose=part("part_of_staff") if "staff" in by else sql.SQL("true"),
    )


def _payments(chosen: Filter) -> dict[str, sql.Composable]:
    return {"payment": facts(chosen)["payment"], "whose": whose(chosen)}


def whose(chosen: Filter) -> sql.Composable:
    """The condition that a payment is for an order of the chosen departments' staff."""
    if not chosen.departments:
        return sql.SQL("true")
    return part("part_payments_of_staff_then" if chosen.as_of else "part_payments_of_staff")


def _whose_last(chosen: Filter) -> sql.Composable:
    """The same of a version that has ended."""
    return part("part_payments_of_staff_last") if chosen.departments else sql.SQL("true")


def kinds() -> sql.Composable:
    """SQL of payment types with their direction and sign."""
    return part("part_kinds")


def no_run_pays() -> sql.Composable:
    """The condition that no run pays what is open of a line."""
    line = {name: sql.Identifier(name) for name in ("day", "due_at_once")}
    return part("part_no_run_pays", **line)


def never_paid() -> sql.Composable:
    """The same of a payment, its day being over."""
    made = sql.SQL("payment.payment_date = payment.created_date")
    day = sql.Identifier("payment", "payment_date")
    return part("part_never_paid", no_run_pays=part("part_no_run_pays", day=day, due_at_once=made))


def converted(lines: sql.Composable) -> sql.Composable:
    """Lines of a day, a currency and a value, with that in the reporting currency."""
    key = rate_key(sql.Identifier("line", "day"), sql.Identifier("line", "currency_id"))
    return part("part_converted", lines=lines, rates=part("part_rates"), key=key)


def _looked_at(chosen: Filter, *, country: str) -> list[str]:
    """What a filter looks at, beside day and currency."""
    looks_at = (
        (country, chosen.countries),
        ("staff", chosen.departments),
        ("counterparty", chosen.counterparties),
    )
    return [name for name, values in looks_at if values]


def _totals(
    chosen: Filter, table: str, dimensions: Collection[str], needed: Collection[str]
) -> sql.Composable | None:
    """The daily totals that know all that is needed; None where none does."""
    looked_at = set(needed)
    if chosen.as_of is not None or len(looked_at) > 1 or not looked_at <= set(dimensions):
        return None
    columns = sql.SQL(", ").join(
        sql.Identifier(f"{name}_id")
        if name in looked_at
        else sql.SQL("NULL::integer AS {}").format(sql.Identifier(f"{name}_id"))
        for name in dimensions
    )
    name = "_by_".join([table, *looked_at])
    return part("part_orders_of_totals", columns=columns, totals=sql.Identifier("totes", name))


def _chosen(what: str, source: sql.Composable) -> sql.Composable:
    return part(f"part_{what}s", source=source, narrowed=narrowed(what))
