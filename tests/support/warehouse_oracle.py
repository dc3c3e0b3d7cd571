"""The expected rows of the warehouse: all of totesys is read after every capture.

This module imports nothing from totes, and its queries are independent of models and verify SQL.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

Row = tuple[Any, ...]
SourceRows = Mapping[str, Mapping[Any, Row]]
"""The expected rows of one snapshot of the source, by star table and natural key."""

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


_WRITTEN = "created_date created_time last_updated_date last_updated_time"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    table: tuple(columns.split())
    for table, columns in {
        "fact_sales_order": f"""
            sales_order_id {_WRITTEN} sales_staff_id counterparty_id units_sold unit_price
            currency_id design_id agreed_payment_date agreed_delivery_date
            agreed_delivery_location_id""",
        "fact_purchase_order": f"""
            purchase_order_id {_WRITTEN} staff_id counterparty_id item_code item_quantity
            item_unit_price currency_id agreed_delivery_date agreed_payment_date
            agreed_delivery_location_id""",
        "fact_payment": f"""
            payment_id {_WRITTEN} transaction_id counterparty_id payment_amount currency_id
            payment_type_id paid payment_date""",
        "dim_staff": "staff_id first_name last_name department_name location email_address",
        "dim_counterparty": """
            counterparty_id counterparty_legal_name counterparty_legal_address_line_1
            counterparty_legal_address_line_2 counterparty_legal_district counterparty_legal_city
            counterparty_legal_postal_code counterparty_legal_country
            counterparty_legal_phone_number""",
        "dim_location": """
            location_id address_line_1 address_line_2 district city postal_code country phone""",
        "dim_design": "design_id design_name file_location file_name",
        "dim_payment_type": "payment_type_id payment_type_name",
        "dim_transaction": "transaction_id transaction_type sales_order_id purchase_order_id",
        "dim_currency": "currency_id currency_code currency_name",
    }.items()
}
"""The columns that are compared, in the order of the queries; the first is the natural key.

The warehouse may have further columns and tables."""


def read_source(source: psycopg.Connection) -> SourceRows:
    """Return all committed rows in the form of the star."""
    with source.transaction():
        source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return {
            name: {row[0]: row for row in source.execute(query)}
            for name, query in (FACTS | DIMENSIONS).items()
        }


@dataclass
class Oracle:
    """Collects the expected versions, capture by capture."""

    rows: SourceRows = field(default_factory=lambda: {name: {} for name in FACTS | DIMENSIONS})
    """The rows of the last capture."""

    versions: dict[str, dict[tuple[Any, datetime], Row]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    """Facts by natural key and valid_from; a row's last value is valid_to."""

    latest: dict[str, dict[Any, Row]] = field(
        default_factory=lambda: {name: {} for name in DIMENSIONS}
    )
    """The latest version of dimension rows, including deleted ones."""

    current: dict[str, dict[Any, datetime]] = field(
        default_factory=lambda: {name: {} for name in FACTS}
    )
    """The valid_from of current versions."""

    years: set[int] = field(default_factory=set)
    """The years of the calendar: those of all dates, and one before and after each."""

    def record(self, rows: SourceRows, at: datetime) -> None:
        """Record the rows of a capture at that time."""
        for name in FACTS:
            before, now = self.rows[name], rows[name]
            for key in before.keys() | now.keys():
                if before.get(key) != now.get(key):
                    self._change(name, now.get(key), key, at)
            for row in now.values():
                used = {value.year for value in row if isinstance(value, date)}
                self.years |= {year + offset for year in used for offset in (-1, 0, 1)}
        for name in DIMENSIONS:
            self.latest[name] |= rows[name]
        self.rows = rows

    def _change(self, fact: str, row: Row | None, key: Any, at: datetime) -> None:
        versions, current = self.versions[fact], self.current[fact]
        if (since := current.pop(key, None)) is not None:
            versions[key, since] = (*versions[key, since][:-1], at)
        if row is not None:
            versions[key, at] = (*row, None)
            current[key] = at

    def history(self, fact: str) -> set[Row]:
        """Return all versions: columns, valid_from, valid_to."""
        return {(*row[:-1], at, row[-1]) for (_, at), row in self.versions[fact].items()}

    def deleted_keys(self, dimension: str) -> set[str]:
        """Return the keys of dimension rows that were deleted in totesys, as text."""
        return {str(key) for key in self.latest[dimension].keys() - self.rows[dimension].keys()}


@dataclass(frozen=True)
class Differences:
    """The versions and dimension rows in which the warehouse differs from the oracle.

    `missing` are not in the warehouse, `duplicated` are there several times, `unexpected` are not
    in the oracle or have other values there.
    """

    missing: tuple[str, ...]
    duplicated: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.duplicated or self.unexpected)


def read_rows(warehouse: psycopg.Connection, table: str, relation: str | None = None) -> list[Row]:
    """Return the compared columns of a star table, or of another relation that has them."""
    return _select(warehouse, relation or table, COLUMNS[table])


def read_versions(warehouse: psycopg.Connection, fact: str) -> list[Row]:
    """Return all versions of a fact: the compared columns, valid_from, valid_to."""
    return _select(warehouse, fact, (*COLUMNS[fact], "valid_from", "valid_to"))


def find_differences(oracle: Oracle, warehouse: psycopg.Connection) -> Differences:
    """Compare all versions of facts and all dimensions with the oracle; the session is in UTC."""
    missing, duplicated, unexpected = list[str](), list[str](), list[str]()
    for name in FACTS | DIMENSIONS:
        if name in FACTS:
            found = [((row[0], row[-2]), row) for row in read_versions(warehouse, name)]
            expected: dict[Any, Row] = {
                (key, at): (*row[:-1], at, row[-1])
                for (key, at), row in oracle.versions[name].items()
            }
        else:
            found = [(row[0], row) for row in read_rows(warehouse, name)]
            expected = dict(oracle.latest[name])
        counted = Counter(key for key, _ in found)
        missing += [f"{name} {key}" for key in expected.keys() - counted.keys()]
        duplicated += [f"{name} {key}" for key, count in counted.items() if count > 1]
        unexpected += [f"{name} {key}: {row}" for key, row in found if expected.get(key) != row]
    return Differences(tuple(sorted(missing)), tuple(sorted(duplicated)), tuple(sorted(unexpected)))


def _select(warehouse: psycopg.Connection, relation: str, columns: Iterable[str]) -> list[Row]:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(relation))
    return list(warehouse.execute(query))
