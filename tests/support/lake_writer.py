"""Writes batches directly to an ingestion store, for tests of transform."""

import gzip
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lake_reader import Line

from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    FORMAT,
    LOG_FORMAT,
    UNCHANGED,
    Column,
    File,
    FormerTable,
    Identity,
    Manifest,
    Table,
    data_path,
    manifest_path,
    sha256_hex,
)

WRITTEN = {"created_at": "2022-11-03 14:20:49.962", "last_updated": "2022-11-03 14:20:49.962"}

ROWS: Mapping[str, Line] = {
    "address": {
        "address_id": 1,
        "address_line_1": "6826 Herzog Via",
        "address_line_2": None,
        "district": "Avon",
        "city": "New Patienceburgh",
        "postal_code": "28441",
        "country": "Turkey",
        "phone": "1803 637401",
    },
    "counterparty": {
        "counterparty_id": 1,
        "counterparty_legal_name": "Fahey and Sons",
        "legal_address_id": 1,
        "commercial_contact": None,
        "delivery_contact": None,
    },
    "currency": {"currency_id": 1, "currency_code": "GBP"},
    "department": {
        "department_id": 1,
        "department_name": "Sales",
        "location": "Manchester",
        "manager": "Richard Roma",
    },
    "design": {
        "design_id": 1,
        "design_name": "Wooden",
        "file_location": "/usr",
        "file_name": "wooden-20220717-npgz.json",
    },
    "payment": {
        "payment_id": 1,
        "transaction_id": 1,
        "counterparty_id": 1,
        "payment_amount": "552548.62",
        "currency_id": 1,
        "payment_type_id": 1,
        "paid": False,
        "payment_date": "2022-11-07",
        "company_ac_number": 67305075,
        "counterparty_ac_number": 31622269,
    },
    "payment_type": {"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"},
    "purchase_order": {
        "purchase_order_id": 1,
        "staff_id": 1,
        "counterparty_id": 1,
        "item_code": "ZDOI5EA",
        "item_quantity": 371,
        "item_unit_price": "361.39",
        "currency_id": 1,
        "agreed_delivery_date": "2022-11-09",
        "agreed_payment_date": "2022-11-07",
        "agreed_delivery_location_id": 1,
    },
    "sales_order": {
        "sales_order_id": 1,
        "design_id": 1,
        "staff_id": 1,
        "counterparty_id": 1,
        "units_sold": 84754,
        "unit_price": "2.43",
        "currency_id": 1,
        "agreed_delivery_date": "2022-11-10",
        "agreed_payment_date": "2022-11-03",
        "agreed_delivery_location_id": 1,
    },
    "staff": {
        "staff_id": 1,
        "first_name": "Jeremie",
        "last_name": "O'Keefe",
        "department_id": 1,
        "email_address": "jeremie.o'keefe@terrifictotes.com",
    },
    "transaction": {
        "transaction_id": 1,
        "transaction_type": "SALE",
        "sales_order_id": 1,
        "purchase_order_id": None,
    },
}
"""One row of each table of totesys; the first column is the key."""


def row(table: str, **values: Any) -> Line:
    """Return the example row of a table, with these values changed."""
    return {**ROWS[table], **WRITTEN, **values}


def _log_fields(operation: str, at: datetime, sequence: int) -> Line:
    moment = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return {"_op": operation, "_xid": "753", "_at": moment, "_seq": sequence}


class LakeWriter:
    """An ingestion store with the tables of totesys; tests can change `columns` and `keys`."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder)
        self.columns = {table: [*example, *WRITTEN] for table, example in ROWS.items()}
        self.keys: dict[str, tuple[str, ...]] = {
            table: (next(iter(example)),) for table, example in ROWS.items()
        }
        self.batches: list[Manifest] = []

    def captured_at(self, batch: int) -> datetime:
        """Return the capture time of a batch."""
        return datetime(2026, 11, 22, 10, tzinfo=UTC) + timedelta(seconds=batch, microseconds=7)

    def upsert(self, table: str, at: datetime, sequence: int, **values: Any) -> Line:
        """Return a line of the log: the example row of a table, with these values changed."""
        return {**_log_fields("upsert", at, sequence), **row(table, **values)}

    def delete(self, table: str, at: datetime, sequence: int, *key: object) -> Line:
        """Return a line of the log for the deletion of a key."""
        names = dict(zip(self.keys[table], key, strict=True))
        return {**_log_fields("delete", at, sequence), **names}

    def add(  # noqa: PLR0913  a batch has many parts
        self,
        rows: Mapping[str, Sequence[Line]] | None = None,
        *,
        deletes: Mapping[str, Collection[int | str]] | None = None,
        log: Mapping[str, Sequence[Line]] | None = None,
        whole: Collection[str] = (),
        released: tuple[int, ...] = (),
        absent: Collection[str] = (),
        parts: int = 1,
    ) -> Manifest:
        """Publish a batch.

        rows, deletes: changed rows and deleted keys, by table that was scanned.
        log: the lines of `upsert` and `delete`, by table that was read from the log.
        absent: tables that the source no longer has.
        parts: the number of files of a table with as many lines.
        """
        number = len(self.batches) + 1
        at, log = self.captured_at(number), log or {}
        tables = []
        for table, columns in self.columns.items():
            if table in absent:
                continue
            changed: list[Line] = [
                {"_op": "upsert", "_xid": "753", **line} for line in (rows or {}).get(table, ())
            ]
            deleted: list[Line] = [
                {"_op": "delete", "_xid": None, self.keys[table][0]: key}
                for key in (deletes or {}).get(table, ())
            ]
            lines = [*changed, *deleted, *log.get(table, ())]
            attempt = f"{number:012d}-{secrets.token_hex(4)}"
            files = tuple(
                self._file(data_path(table, at, f"{attempt}-{part}.jsonl.gz"), lines[part::parts])
                for part in range(min(parts, len(lines)))
            )
            made = self._table(table, columns, files, whole=table in whole)
            tables.append(made.model_copy(update={"of_log": table in log}))
        manifest = Manifest(
            format=LOG_FORMAT if log else FORMAT,
            batch=number,
            previous=sha256_hex(self.batches[-1].to_json()) if self.batches else None,
            captured_at=at,
            snapshot="753:753:",
            identity=Identity(
                system_identifier="1", database_oid=1, timeline=1, database="totesys"
            ),
            tables=tuple(tables),
            released=released,
            former=tuple(self._former(table, number) for table in absent),
        )
        assert self.store.create(manifest_path(number), manifest.to_json())
        self.batches.append(manifest)
        return manifest

    def _file(self, path: str, rows: Collection[Line]) -> File:
        texts = [
            json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in rows
        ]
        lines = "".join(texts).encode()
        data = gzip.compress(lines, 1)
        assert self.store.create(path, data)
        return File(
            path=path,
            rows=len(texts),
            deletes=sum(line["_op"] == "delete" for line in rows),
            unreadable=sum(
                any(isinstance(value, dict) for value in line.values()) for line in rows
            ),
            bytes=len(data),
            unpacked_bytes=len(lines),
            sha256=sha256_hex(data),
        )

    def _former(self, name: str, number: int) -> FormerTable:
        """Return the entry of a table that the source no longer has, and of its absence so far."""
        before = self.batches[-1]
        for former in before.former:
            if former.table.name == name:
                return former
        table = before.table(name)
        assert table is not None
        last = table.model_copy(update=UNCHANGED)
        return FormerTable(table=last, since=number, reason="absent")

    def _table(
        self, name: str, columns: Sequence[str], files: tuple[File, ...], *, whole: bool
    ) -> Table:
        return Table(
            name=name,
            columns=tuple(
                Column(name=column, type="text", kind="text", nullable=True) for column in columns
            ),
            key=self.keys[name],
            fingerprint=sha256_hex(repr(columns).encode()),
            whole=whole,
            files=files,
            rows=sum(file.rows - file.deletes for file in files),
        )
