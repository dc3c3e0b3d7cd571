"""A second implementation of the dashboard's metrics: row by row in Python, without SQL."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

import psycopg
from psycopg.rows import dict_row
from warehouse_oracle import COLUMNS
from warehouse_oracle import FACTS as FACT_QUERIES

from totes.config.dsn import Dsn
from totes.dashboard.filters import Filter

Row = dict[str, Any]
Facts = Mapping[str, list[Row]]

FACTS = {fact: COLUMNS[fact][0] for fact in FACT_QUERIES}
"""The natural keys of the facts."""
EXACT = Context(prec=120)
SIGNS = {
    "SALES_RECEIPT": ("in", 1),
    "SALES_REFUND": ("in", -1),
    "PURCHASE_PAYMENT": ("out", 1),
    "PURCHASE_REFUND": ("out", -1),
}


@dataclass(frozen=True)
class Line:
    """The values of an order or payment that metrics use."""

    key: int
    day: date
    code: str
    amount: Decimal
    units: int
    counterparty: int
    country: str
    staff: int | None
    department: str | None
    row: Row
    direction: str = ""


@dataclass(frozen=True)
class Sum:
    """A sum of rows; `value` is None if there are rows and none of them has a rate."""

    value: Decimal | None
    rows: int
    units: int
    unconverted: int


def current_facts(warehouse: Dsn) -> Facts:
    """Return the current rows."""
    with psycopg.connect(warehouse.reveal(), row_factory=dict_row) as connection:
        return {
            fact: connection.execute(
                f"SELECT * FROM {fact} WHERE valid_to IS NULL".encode()
            ).fetchall()
            for fact in FACTS
        }


def facts_at(warehouse: Dsn, moment: datetime) -> Facts:
    """Return the rows valid at a moment, with those released from quarantine since."""
    with psycopg.connect(warehouse.reveal(), row_factory=dict_row) as connection:
        return {
            fact: [
                row
                for row in connection.execute(f"SELECT * FROM {fact}".encode()).fetchall()
                if row["valid_from"] <= moment
                and (row["valid_to"] is None or moment < row["valid_to"])
            ]
            for fact in FACTS
        }


def last_facts(warehouse: Dsn) -> Facts:
    """Return the newest version of each row, also of deleted ones."""
    with psycopg.connect(warehouse.reveal(), row_factory=dict_row) as connection:
        newest = "SELECT DISTINCT ON ({1}) * FROM {0} ORDER BY {1}, valid_from DESC"
        return {
            fact: connection.execute(newest.format(fact, key).encode()).fetchall()
            for fact, key in FACTS.items()
        }


class MetricsOracle:
    """Computes metrics from the given facts and the current dimensions."""

    def __init__(
        self, warehouse: Dsn, facts: Facts, known_to: datetime, moment: datetime | None = None
    ) -> None:
        with psycopg.connect(warehouse.reveal(), row_factory=dict_row) as connection:

            def by_key(table: str) -> dict[int, Row]:
                rows = connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
                return {next(iter(row.values())): row for row in rows}

            self.staff = by_key("dim_staff")
            self.places = by_key("dim_location")
            self.counterparties = by_key("dim_counterparty")
            self.designs = by_key("dim_design")
            self.kinds = kinds = by_key("dim_payment_type")
            self.reasons = reasons = by_key("dim_transaction")
            codes = {key: row["currency_code"] for key, row in by_key("dim_currency").items()}
            self.codes = codes
            # Without statistics, the planner joins all rates with all rates.
            connection.execute("ANALYZE fact_exchange_rate")
            self.rates: dict[str, dict[tuple[date, str], Decimal]] = {}
            for reporting in ("GBP", "EUR", "USD"):
                found = connection.execute(
                    "SELECT rate_date, currency_code, rate FROM exchange_rate_to(%s)", [reporting]
                ).fetchall()
                self.rates[reporting] = {
                    (row["rate_date"], row["currency_code"]): row["rate"] for row in found
                }
            rejected = connection.execute(
                "SELECT * FROM totes.quarantine"
                " WHERE released_at IS NULL AND star_table = ANY(%s) ORDER BY valid_from",
                [list(FACTS)],
            ).fetchall()
        last: dict[tuple[str, str], Row] = {}
        for row in rejected:
            superseded_at = row["superseded_at"]
            if moment is None:
                waits = superseded_at is None
            else:
                waits = row["valid_from"] <= moment
                waits &= superseded_at is None or superseded_at > moment
            if waits:  # if two versions are in quarantine, the newer one
                last[row["star_table"], row["key"]] = row
        self.quarantine = list(last.values())
        self.last_rate = max(day for day, _ in self.rates["GBP"])
        self.sales = [
            Line(
                row["sales_order_id"],
                row["created_date"],
                codes[row["currency_id"]],
                row["units_sold"] * row["unit_price"],
                row["units_sold"],
                row["counterparty_id"],
                self.places[row["agreed_delivery_location_id"]]["country"],
                row["sales_staff_id"],
                self.staff[row["sales_staff_id"]]["department_name"],
                row,
            )
            for row in facts["fact_sales_order"]
        ]
        self.purchases = [
            Line(
                row["purchase_order_id"],
                row["created_date"],
                codes[row["currency_id"]],
                row["item_quantity"] * row["item_unit_price"],
                row["item_quantity"],
                row["counterparty_id"],
                self.legal_country(row["counterparty_id"]),
                row["staff_id"],
                self.staff[row["staff_id"]]["department_name"],
                row,
            )
            for row in facts["fact_purchase_order"]
        ]
        self.sellers = sellers = {line.key: line.staff for line in self.sales}
        self.buyers = buyers = {line.key: line.staff for line in self.purchases}
        self.payments = []
        for row in facts["fact_payment"]:
            reason = reasons[row["transaction_id"]]
            staff = sellers.get(reason["sales_order_id"])
            staff = staff if staff is not None else buyers.get(reason["purchase_order_id"])
            kind = kinds[row["payment_type_id"]]["payment_type_name"]
            direction, sign = SIGNS[kind]
            self.payments.append(
                Line(
                    row["payment_id"],
                    row["payment_date"],
                    codes[row["currency_id"]],
                    sign * row["payment_amount"],
                    0,
                    row["counterparty_id"],
                    self.legal_country(row["counterparty_id"]),
                    staff,
                    self.staff[staff]["department_name"] if staff is not None else None,
                    row,
                    direction,
                )
            )
        days = [line.day for line in (*self.sales, *self.purchases)]
        self.first_day = min(days)
        today = known_to.astimezone(UTC).date()
        newest = max(days)
        self.today = today if 0 <= (today - newest).days <= 14 else newest

    def legal_country(self, counterparty: int) -> str:
        return str(self.counterparties[counterparty]["counterparty_legal_country"])

    def filtered(
        self, lines: Iterable[Line], criteria: Filter, *, any_day: bool = False
    ) -> list[Line]:
        return [
            line
            for line in lines
            if (any_day or criteria.since <= line.day <= criteria.until)
            and (not criteria.currencies or line.code in criteria.currencies)
            and (not criteria.countries or line.country in criteria.countries)
            and (not criteria.departments or line.department in criteria.departments)
            and (not criteria.counterparties or line.counterparty in criteria.counterparties)
        ]

    def converted(self, line: Line, criteria: Filter) -> Decimal | None:
        return self.worth(line.day, line.code, line.amount, criteria.reporting)

    def worth(self, day: date, code: str, amount: Decimal, reporting: str) -> Decimal | None:
        """Convert an amount at the day's rate; the last rates apply for a year."""
        if code == reporting:
            return amount
        if self.last_rate < day <= self.last_rate + timedelta(days=366):
            day = self.last_rate
        rate = self.rates[reporting].get((day, code))
        with localcontext(EXACT):
            return None if rate is None else amount * rate

    def sum(self, lines: Iterable[Line], criteria: Filter) -> Sum:
        known = [(line, self.converted(line, criteria)) for line in lines]
        values = [value for _, value in known if value is not None]
        with localcontext(EXACT):
            return Sum(
                rounded(sum(values, Decimal(0))) if values or not known else None,
                len(known),
                sum(line.units for line, _ in known),
                len(known) - len(values),
            )

    def by(
        self, lines: Iterable[Line], criteria: Filter, key: Callable[[Line], Hashable]
    ) -> dict[Hashable, Sum]:
        groups: dict[Hashable, list[Line]] = defaultdict(list)
        for line in lines:
            groups[key(line)].append(line)
        return {key: self.sum(group, criteria) for key, group in groups.items()}

    def quarantined(self, total: str, criteria: Filter) -> tuple[Any, ...]:
        """Return the fields of `Quarantined` for a total.

        These are rows that the total excludes, their value, those of unknown value, and rows that
        may belong to it; rows that it has in an earlier version, the difference, and those whose
        difference is unknown.
        """
        values: list[Decimal | None] = []
        uncertain = 0
        differences: list[Decimal | None] = []
        for entry in self.quarantine:
            row = self._rejected_row(entry["star_table"], entry["row"], criteria)
            conditions = {
                "fact_sales_order": {"sales": row["in_period"]},
                "fact_purchase_order": {"purchases": row["in_period"]},
                "fact_payment": {
                    f"{name}{way}": all_true(
                        row["direction"] == way if row["direction"] else None, condition
                    )
                    for way in ("in", "out")
                    for name, condition in (
                        ("cash_", all_true(row["paid"], row["in_period"])),
                        ("open_", negated(row["paid"])),
                        ("overdue_", all_true(negated(row["paid"]), row["overdue"])),
                        ("uncovered_", all_true(negated(row["paid"]), row["uncovered"])),
                    )
                },
            }[entry["star_table"]]
            if total not in conditions:
                continue
            belongs = all_true(row["matches_filter"], conditions[total])
            counted = self._counted(total, entry["key"], criteria)
            if counted is not None:
                old = self.converted(counted, criteria)
                new = None if belongs is None else row["worth"] if belongs else Decimal(0)
                with localcontext(EXACT):
                    differences.append(less(new, old))
            elif belongs is None:
                uncertain += 1
            elif belongs:
                values.append(row["worth"])
        with localcontext(EXACT):
            value, difference = (
                rounded(sum((each for each in of if each is not None), Decimal(0)))
                for of in (values, differences)
            )
        return (
            *(len(values), value, values.count(None), uncertain),
            *(len(differences), difference, differences.count(None)),
        )

    def _counted(self, total: str, key: str, criteria: Filter) -> Line | None:
        """Return the accepted version of a row if the total includes it."""
        kind, _, way = total.partition("_")
        lines = {"sales": self.sales, "purchases": self.purchases}.get(kind, self.payments)
        found = [
            line
            for line in self.filtered(lines, criteria, any_day=bool(way) and kind != "cash")
            if line.key == int(key)
            and (
                not way
                or (
                    line.direction == way
                    and line.row["paid"] == (kind == "cash")
                    and (kind not in {"overdue", "uncovered"} or line.day < self.today)
                    and (
                        kind != "uncovered"
                        or line.day.isoweekday() > 5
                        or line.day == line.row["created_date"]
                    )
                )
            )
        ]
        return found[0] if found else None

    def _rejected_row(self, fact: str, row: Row, criteria: Filter) -> Row:
        """Return what can be read from a rejected row; None for what can't."""
        day_of, quantity_of, price_of, staff_of = {
            "fact_sales_order": ("created_date", "units_sold", "unit_price", "sales_staff_id"),
            "fact_purchase_order": (
                *("created_date", "item_quantity", "item_unit_price"),
                "staff_id",
            ),
            "fact_payment": ("payment_date", None, "payment_amount", None),
        }[fact]
        day, made = valid_day(row[day_of]), valid_day(row["created_date"])
        currency, other = int(row["currency_id"]), int(row["counterparty_id"])
        code = self.codes.get(currency)
        amount = Decimal(str(row[price_of]))
        if quantity_of:
            amount *= Decimal(str(row[quantity_of]))
        direction, paid = "", None
        staff = int(row[staff_of]) if staff_of else None
        if fact == "fact_payment":
            kind = self.kinds[int(row["payment_type_id"])]["payment_type_name"]
            direction, sign = SIGNS[kind]
            amount *= sign
            paid = {"true": True, "false": False}.get(str(row["paid"]).lower())
            reason = self.reasons.get(int(row["transaction_id"]), {})
            staff = self.sellers.get(reason.get("sales_order_id", 0))
            staff = staff or self.buyers.get(reason.get("purchase_order_id", 0))
        if fact == "fact_sales_order":
            place = self.places.get(int(row["agreed_delivery_location_id"]))
            country = place and place["country"]
        else:
            country = self.legal_country(other) if other in self.counterparties else None
        department = self.staff[staff]["department_name"] if staff in self.staff else None
        worth = None
        if code == criteria.reporting:
            worth = amount
        elif code and day:
            worth = self.worth(day, code, amount, criteria.reporting)
        return {
            "in_period": day and criteria.since <= day <= criteria.until,
            "overdue": day and day < self.today,
            "uncovered": day
            and all_true(day < self.today, day.isoweekday() > 5 or (day == made if made else None)),
            "paid": paid,
            "direction": direction,
            "worth": worth,
            "matches_filter": all_true(
                not criteria.currencies or code in criteria.currencies,
                is_selected(country, criteria.countries),
                is_selected(department, criteria.departments),
                not criteria.counterparties or other in criteria.counterparties,
            ),
        }


def valid_day(text: object) -> date | None:
    """Return the day of a rejected row's text; None if the star does not accept it."""
    try:
        day = date.fromisoformat(str(text))
    except ValueError:
        return None
    return day if 1900 <= day.year <= 2200 else None


def all_true(*conditions: bool | None) -> bool | None:
    """Return whether all conditions hold; None if that is unknown."""
    if False in conditions:
        return False
    return None if None in conditions else True


def negated(condition: Any) -> bool | None:
    return None if condition is None else not condition


def is_selected(value: object, criteria: tuple[Any, ...]) -> bool | None:
    """Return whether the filter has a value; None if the value is unknown."""
    if not criteria:
        return True
    return None if value is None else value in criteria


def rounded(value: Decimal, places: str = "0.01") -> Decimal:
    with localcontext(EXACT):
        return value.quantize(Decimal(places), ROUND_HALF_UP)


def less(value: Decimal | None, other: Decimal | None) -> Decimal | None:
    """Return the difference; None if one of the two is unknown."""
    return None if value is None or other is None else value - other


def start_of(day: date, grain: str) -> date:
    """Return the first day of the day's week, month or year."""
    return {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }[grain]
