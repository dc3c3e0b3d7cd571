"""Write batches of star rows into a processed store, to test loads without a transform."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from database import fetch_rows
from psycopg import sql

from totes.config.dsn import Dsn
from totes.duckdb_engine import open_engine
from totes.lake.folder import FolderStore
from totes.lake.manifest import ProcessedManifest, StarFile, processed_manifest_path, sha256_hex
from totes.sql_text import literal
from totes.star.folder import TOTESYS, Star

Row = Mapping[str, Any]
"""A star row by column name, with `valid_from` and `_op` if not the capture time and upsert."""

DAY = date(2022, 11, 3)
TIMESTAMPS = {
    "created_date": DAY,
    "created_time": time(14, 20, 49, 962000),
    "last_updated_date": DAY,
    "last_updated_time": time(14, 20, 51, 563000),
}


def moment(batch: int) -> datetime:
    """Return the capture time of a batch."""
    return datetime(2022, 11, 3, 14, 20, 51, 563000, tzinfo=UTC) + timedelta(hours=batch)


def day(value: date = DAY) -> Row:
    return {
        "date_id": value,
        "year": value.year,
        "month": value.month,
        "day": value.day,
        "day_of_week": value.isoweekday(),
        "day_name": f"{value:%A}",
        "month_name": f"{value:%B}",
        "quarter": (value.month + 2) // 3,
    }


def staff(key: int = 1, **changes: object) -> Row:
    return {
        "staff_id": key,
        "first_name": "Jeremie",
        "last_name": "O'Keefe",
        "department_name": "Purchasing",
        "location": None,
        "email_address": "jeremie.o'keefe@terrifictotes.com",
    } | changes


def location(key: int = 1, **changes: object) -> Row:
    return {
        "location_id": key,
        "address_line_1": "6826 Herzog Via",
        "address_line_2": None,
        "district": "Avon",
        "city": "New Patienceburgh",
        "postal_code": "28441",
        "country": "Turkey",
        "phone": "1803 637401",
    } | changes


def currency(key: int = 1, code: str = "GBP", name: str = "Pound Sterling") -> Row:
    return {"currency_id": key, "currency_code": code, "currency_name": name}


def design(key: int = 1, **changes: object) -> Row:
    return {
        "design_id": key,
        "design_name": "Wooden",
        "file_location": "/usr",
        "file_name": "wooden-20220717-npgz.json",
    } | changes


def counterparty(key: int = 1, name: str = "Fahey and Sons") -> Row:
    return {
        "counterparty_id": key,
        "counterparty_legal_name": name,
        "counterparty_legal_address_line_1": "605 Haskell Trafficway",
        "counterparty_legal_address_line_2": "Axel Freeway",
        "counterparty_legal_district": None,
        "counterparty_legal_city": "East Bobbie",
        "counterparty_legal_postal_code": "88253-4257",
        "counterparty_legal_country": "Heard Island and McDonald Islands",
        "counterparty_legal_phone_number": "9687 937447",
    }


def payment_type(key: int = 1, name: str = "SALES_RECEIPT") -> Row:
    return {"payment_type_id": key, "payment_type_name": name}


def transaction(key: int = 1, sale: int | None = 1, purchase: int | None = None) -> Row:
    return {
        "transaction_id": key,
        "transaction_type": "PURCHASE" if purchase else "SALE",
        "sales_order_id": sale,
        "purchase_order_id": purchase,
    }


def sale(key: int = 1, **changes: object) -> Row:
    return (
        {"sales_order_id": key}
        | TIMESTAMPS
        | {
            "sales_staff_id": 1,
            "counterparty_id": 1,
            "units_sold": 42972,
            "unit_price": Decimal("3.94"),
            "currency_id": 1,
            "design_id": 1,
            "agreed_payment_date": DAY,
            "agreed_delivery_date": DAY,
            "agreed_delivery_location_id": 1,
        }
        | changes
    )


def purchase(key: int = 1, **changes: object) -> Row:
    return (
        {"purchase_order_id": key}
        | TIMESTAMPS
        | {
            "staff_id": 1,
            "counterparty_id": 1,
            "item_code": "ZDOI5EA",
            "item_quantity": 371,
            "item_unit_price": Decimal("361.39"),
            "currency_id": 1,
            "agreed_delivery_date": DAY,
            "agreed_payment_date": DAY,
            "agreed_delivery_location_id": 1,
        }
        | changes
    )


def payment(key: int = 1, **changes: object) -> Row:
    return (
        {"payment_id": key}
        | TIMESTAMPS
        | {
            "transaction_id": 1,
            "counterparty_id": 1,
            "payment_amount": Decimal("169309.68"),
            "currency_id": 1,
            "payment_type_id": 1,
            "paid": False,
            "payment_date": DAY,
        }
        | changes
    )


DIMENSIONS: Mapping[str, list[Row]] = {
    "dim_date": [day()],
    "dim_staff": [staff(1), staff(2, first_name="Deron")],
    "dim_location": [location()],
    "dim_currency": [currency()],
    "dim_design": [design()],
    "dim_counterparty": [counterparty()],
    "dim_payment_type": [payment_type()],
    "dim_transaction": [transaction()],
}
"""The dimension rows that `sale()`, `purchase()` and `payment()` refer to."""

ALL: Mapping[str, list[Row]] = {
    **DIMENSIONS,
    "fact_sales_order": [sale()],
    "fact_purchase_order": [purchase()],
    "fact_payment": [payment()],
}


def rate(day: date, currency: str, units: str) -> Row:
    return {
        "rate_id": f"{day} {currency}",
        "rate_date": day,
        "currency_code": currency,
        "rate": Decimal(units),
        "source": "ECB bundled",
        "carried_forward": False,
    }


@dataclass
class ProcessedLake:
    """A processed store in a folder, with batches 1, 2, 3 … of one generation."""

    folder: Path
    generation: int = 1
    batches: int = 0

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.folder / "processed")

    def publish(
        self,
        upserts: Mapping[str, Iterable[Row]] | None = None,
        deletes: Mapping[str, Iterable[object]] | None = None,
        rejected: Iterable[Row] = (),
        *,
        star: Star = TOTESYS,
        ingested: str = "ingested",
    ) -> ProcessedManifest:
        """Publish the next batch; `deletes` are keys, `rejected` are rows for quarantine."""
        upserts, deletes = upserts or {}, deletes or {}
        self.batches += 1
        at = moment(self.batches)
        files = []
        for table in star.tables.values():
            rows: list[Row] = [
                {"valid_from": at, "_op": "upsert", **row} for row in upserts.get(table.name, ())
            ]
            rows += [
                {table.key_names[0]: key, "valid_from": at, "_op": "delete"}
                for key in deletes.get(table.name, ())
            ]
            deleted = sum(row["_op"] == "delete" for row in rows)
            if rows:
                columns = {column.name: column.type.name for column in table.columns}
                columns |= {"valid_from": "TIMESTAMPTZ", "_op": "VARCHAR"}
                files.append(self._write_file(table.name, table.name, columns, rows, deleted))
        manifest = ProcessedManifest(
            batch=self.batches,
            previous=self._previous_digest(),
            captured_at=at,
            generation=self.generation,
            ingested=f"{ingested} {self.batches}",
            files=tuple(files),
            rejected=self._quarantine_files(rejected, at),
            models="",
        )
        path = processed_manifest_path(self.generation, self.batches)
        assert self.store.create(path, manifest.to_json())
        return manifest

    def _previous_digest(self) -> str | None:
        path = processed_manifest_path(self.generation, self.batches - 1)
        return sha256_hex(self.store.get(path)) if self.store.exists(path) else None

    def _quarantine_files(self, rows: Iterable[Row], at: datetime) -> tuple[StarFile, ...]:
        rows = [{"valid_from": at, **row} for row in rows]
        names = ("star_table", "key", "column_name", "value", "reason", "row")
        columns = dict.fromkeys(names, "VARCHAR") | {"valid_from": "TIMESTAMPTZ"}
        tables = {str(row["star_table"]): None for row in rows}
        return tuple(
            self._write_file(
                f"quarantine/{table}",
                table,
                columns,
                [row for row in rows if row["star_table"] == table],
                0,
            )
            for table in tables
        )

    def _write_file(
        self, folder: str, table: str, columns: Mapping[str, str], rows: list[Row], deletes: int
    ) -> StarFile:
        local = self.folder / "local.parquet"
        types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        placeholders = ", ".join("?" * len(columns))
        values = [row.get(name) for row in rows for name in columns]
        tuples = ", ".join([f"({placeholders})"] * len(rows))
        with open_engine(self.folder, share=2) as engine:
            engine.execute(f"CREATE TEMP TABLE rows ({types})")
            engine.execute(f"INSERT INTO rows VALUES {tuples}", values)
            engine.execute(f"COPY rows TO {literal(str(local))} (FORMAT parquet)")
        content = local.read_bytes()
        path = f"generation={self.generation}/{folder}/{self.batches:012d}.parquet"
        self.store.put(path, local)
        return StarFile(
            table=table,
            path=path,
            rows=len(rows),
            deletes=deletes,
            bytes=len(content),
            sha256=sha256(content).hexdigest(),
        )


def rejected_row(star_table: str, key: object, **changes: object) -> Row:
    """Return a row for quarantine."""
    return {
        "star_table": star_table,
        "key": str(key),
        "column_name": "unit_price",
        "value": "1.005",
        "reason": "is not a number",
        "row": "{}",
    } | changes


def read_versions(dsn: Dsn, star_table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Return a fact's versions: columns, valid_from and valid_to, by natural key and time."""
    names = sql.SQL(", ").join(map(sql.Identifier, (*columns, "valid_from", "valid_to")))
    key = sql.Identifier(TOTESYS.tables[star_table].key_names[0])
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}, valid_from").format(
        names, sql.Identifier(star_table), key
    )
    return fetch_rows(dsn, query)


def read_star_tables(dsn: Dsn) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of every star table without surrogate keys, sorted by their text."""
    tables = {}
    for star in TOTESYS.tables.values():
        names = [column.name for column in star.columns]
        names += ["valid_from", "valid_to"] if star.is_fact else []
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        rows = fetch_rows(
            dsn, sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(star.name))
        )
        tables[star.name] = sorted(rows, key=repr)
    return tables
