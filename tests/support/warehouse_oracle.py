"""What the warehouse must hold, found the naive way: all of totesys is read at every capture.

Imports nothing from totes: its queries are its own, and history is a list of all that was seen.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Row = tuple[Any, ...]
Sight = Mapping[str, Mapping[Any, Row]]
"""What one look at the source saw: star table, then natural key, then row."""

FACTS: dict[str, LiteralString] = {
    "fact_sales_order": """
        SELECT sales_order_id, created_at::date, created_at::time, last_updated::date,
               last_updated::time, staff_id, counterparty_id, units_sold, unit_price, currency_id,
               design_id, agreed_payment_date::date, agreed_delivery_date::date,
               agreed_delivery_location_id
        FROM sales_order""",
    "fact_purchase_order": """
        SELECT purchase_order_id, created_at::date, created_at::time, last_updated::date,
               last_updated::time, staff_id, counterparty_id, item_code, item_quantity,
               item_unit_price, currency_id, agreed_delivery_date::date, agreed_payment_date::date,
               agreed_delivery_location_id
        FROM purchase_order""",
    "fact_payment": """
        SELECT payment_id, created_at::date, created_at::time, last_updated::date,
               last_updated::time, transaction_id, counterparty_id, payment_amount, currency_id,
               payment_type_id, paid, payment_date::date
        FROM payment""",
}

DIMENSIONS: dict[str, LiteralString] = {
    "dim_staff": """
        SELECT staff_id, first_name, last_name, department_name, location, email_address
        FROM staff, department WHERE staff.department_id = department.department_id""",
    "dim_counterparty": """
        SELECT counterparty_id, counterparty_legal_name, address_line_1, address_line_2, district,
               city, postal_code, country, phone
        FROM counterparty, address WHERE legal_address_id = address_id""",
    "dim_location": """
        SELECT address_id, address_line_1, address_line_2, district, city, postal_code, country,
               phone
        FROM address""",
    "dim_design": "SELECT design_id, design_name, file_location, file_name FROM design",
    "dim_payment_type": "SELECT payment_type_id, payment_type_name::text FROM payment_type",
    "dim_transaction": """
        SELECT transaction_id, transaction_type::text, sales_order_id, purchase_order_id
        FROM "transaction" """,
    "dim_currency": """
        SELECT currency_id, currency_code, CASE currency_code
            WHEN 'GBP' THEN 'Pound Sterling' WHEN 'USD' THEN 'US Dollar' WHEN 'EUR' THEN 'Euro'
            WHEN 'JPY' THEN 'Yen' WHEN 'CHF' THEN 'Swiss Franc' WHEN 'SEK' THEN 'Swedish Krona'
            WHEN 'PLN' THEN 'Zloty' WHEN 'KWD' THEN 'Kuwaiti Dinar' WHEN 'INR' THEN 'Indian Rupee'
            WHEN 'BRL' THEN 'Brazilian Real' WHEN 'NZD' THEN 'New Zealand Dollar'
            WHEN 'ZAR' THEN 'Rand' WHEN 'CLF' THEN 'Unidad de Fomento' END
        FROM currency""",
}


def look(source: psycopg.Connection) -> Sight:
    """All that is committed, as the star has it."""
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return {
            name: {row[0]: row for row in source.execute(query)}
            for name, query in (FACTS | DIMENSIONS).items()
        }


@dataclass
class Oracle:
    """Remembers what was seen at each capture."""

    seen: Sight = field(default_factory=lambda: {name: {} for name in FACTS | DIMENSIONS})
    """At the last capture."""

    versions: dict[str, dict[tuple[Any, datetime], Row]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    """Facts by natural key and valid_from; a row's last value is valid_to."""

    latest: dict[str, dict[Any, Row]] = field(
        default_factory=lambda: {name: {} for name in DIMENSIONS}
    )
    """Dimension rows as last seen, also those that are gone."""

    current: dict[str, dict[Any, datetime]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    """Since when the version is valid that is so now."""

    years: set[int] = field(default_factory=set)
    """The calendar's: those of all dates seen, and one before and after."""

    def record(self, sight: Sight, at: datetime) -> None:
        """A capture at that moment saw this."""
        for name in FACTS:
            before, now = self.seen[name], sight[name]
            for key in before.keys() | now.keys():
                if before.get(key) != now.get(key):
                    self._change(name, now.get(key), key, at)
            for row in now.values():
                used = {value.year for value in row if isinstance(value, date)}
                self.years |= {year + near for year in used for near in (-1, 0, 1)}
        for name in DIMENSIONS:
            self.latest[name] |= sight[name]
        self.seen = sight

    def _change(self, fact: str, row: Row | None, key: Any, at: datetime) -> None:
        versions, current = self.versions[fact], self.current[fact]
        if (since := current.pop(key, None)) is not None:
            versions[key, since] = (*versions[key, since][:-1], at)
        if row is not None:
            versions[key, at] = (*row, None)
            current[key] = at

    def history(self, fact: str) -> set[Row]:
        """Every version: its columns, valid_from, valid_to."""
        return {(*row[:-1], at, row[-1]) for (_, at), row in self.versions[fact].items()}

    def gone(self, dimension: str) -> set[str]:
        """Keys of dimension rows that totesys has deleted, as text."""
        return {str(key) for key in self.latest[dimension].keys() - self.seen[dimension].keys()}


@dataclass(frozen=True)
class Verdict:
    """What the warehouse has instead of what it must: versions or dimension rows of either kind.

    `lost` are missing, `doubled` are there more than once, `altered` differ from what was seen or
    were never seen.
    """

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    altered: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.altered)


def judge(oracle: Oracle, warehouse: psycopg.Connection) -> Verdict:
    """Compare all facts' history and all dimensions with what was seen; the session is in UTC."""
    lost, doubled, altered = list[str](), list[str](), list[str]()
    for name in FACTS | DIMENSIONS:
        if name in FACTS:
            rows = [row[1:] for row in _rows(warehouse, name)]
            found = [((row[0], row[-2]), row) for row in rows]
            seen: dict[Any, Row] = {
                (key, at): (*row[:-1], at, row[-1])
                for (key, at), row in oracle.versions[name].items()
            }
        else:
            found = [(row[0], row) for row in _rows(warehouse, name)]
            seen = dict(oracle.latest[name])
        counted = Counter(key for key, _ in found)
        lost += [f"{name} {key}" for key in seen.keys() - counted.keys()]
        doubled += [f"{name} {key}" for key, count in counted.items() if count > 1]
        altered += [f"{name} {key}: {row}" for key, row in found if seen.get(key) != row]
    return Verdict(tuple(sorted(lost)), tuple(sorted(doubled)), tuple(sorted(altered)))


def _rows(warehouse: psycopg.Connection, table: str) -> list[Row]:
    return list(warehouse.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))))
