"""A small ingestion store in which a batch has everything that an engine can get wrong.

Values that the contract rejects or that a JSON reader changes, long texts, unreadable values, rows
written several times in a batch, changed keys, deletions, tables of the log, tables captured in
full, altered, absent and restored, models that wait, and rows that are released.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lake_reader import Line
from lake_writer import ROWS, LakeWriter, row
from star_texts import EDGE_CASES

from totes.lake.line import OPERATION, RESERVED_NAMES
from totes.lake.manifest import RATES, Manifest
from totes.star.contract import MAX_TEXT_BYTES

RATE = {
    "rate_id": "2026-11-20 GBP",
    "rate_date": "2026-11-20",
    "currency_code": "GBP",
    "rate": "0.831",
    "source": "ECB",
    "carried_forward": False,
}

HOSTILE_NAMES = (
    *("_batch", "_BATCH", "_changed", "_live", "_line", "_metadata", "_corrupt_record"),
    *("_rejected_column", "valid_from", "key", "reason", "totes_date", "path", "a.b", "a`b"),
    *('q"uote', "back\\slash", "new\nline", "é", " ", "$", "{}", "year", "filename"),
)
"""Names of columns that no model reads."""

TEXTS = (
    *(
        "",
        " ",
        "  both  ",
        "tail ",
        "null",
        "NULL",
        "\\N",
        "O'Keefe",
        '"',
        "\\",
        "\\\\n",
        "a\nb\tc",
    ),
    *("\r\n", "\r", "\x01\x7f\x1f", "\x0b\x0c\x08", "\u0085", "\u2028\u2029", "\ufeff", "\ufffe"),
    *("\uffff", "é", "e\u0301", "ß", "İ", "👜", "👩\u200d👩\u200d👧", "\u202eright", "٣", "{}"),
    *('{"unreadable":"x"}', "[1]", "true", "-0", "$1", "${x}", "%s", "$$", "/*", "--", ";", "`x`"),
    *("東京", "\U0010ffff", "a\u200bb", "\u00a0", "x" * 300, "é" * 1300, "👜" * 700, "Infinity"),
)

TYPED_COLUMNS = (
    *(("sales_order", name) for name in ("units_sold", "unit_price", "agreed_payment_date")),
    *(("sales_order", name) for name in ("created_at", "last_updated", "staff_id", "design_id")),
    *(("payment", name) for name in ("payment_amount", "paid", "payment_date", "transaction_id")),
    *(("purchase_order", name) for name in ("item_quantity", "item_unit_price", "created_at")),
    *(("transaction", "sales_order_id"), ("currency", "currency_code"), (RATES, "rate")),
    *((RATES, "rate_date"), (RATES, "carried_forward"), ("staff", "department_id")),
)

TIMESTAMPS = (
    *("2024-01-01 24:00:00", "2024-01-01 00:00:00", "2024-01-01 23:59:59.999999", "2024-01-01"),
    *(
        "2024-01-01 12:34:56.1",
        "2024-01-01 12:34:56.100",
        "2024-01-01 12:34:56.1234567",
        "infinity",
    ),
    *("2024-01-01T12:00:00", "2024-01-01  12:00:00", " 2024-01-01 12:00:00", "2024-02-30 12:00:00"),
    *(
        "4713-01-01 00:00:00 BC",
        "1899-12-31 00:00:00",
        "1900-01-01 00:00:00",
        "10000-01-01 00:00:00",
    ),
    *("2200-12-31 23:59:59", "2024-02-29 1:02:03", "2024-01-01 12:00:60", "2024-01-01 12:00:00+00"),
    *("1582-10-10 00:00:00", "2024-01-01 12:00:00 ", "-infinity", "2024-01-01 12:00:00.", ""),
)

NUMBERS = (
    *("100000000", "99999999.99", "-99999999.99", "99999999.995", "-0.01", "0.00", "-0.00", "5.0"),
    *(
        "5.",
        "5.000000000000000",
        "0.000000000000001",
        "12345678901234567890",
        "9999999999999999.99",
    ),
    *("9999999999999999.995", "99999999999999999", "1.239", "1E+2", "NaN", "+5", "5.1", "5.10"),
    *("2147483647", "-2147483648", "9223372036854775807", "9223372036854775808", "1e400", "0e0"),
    *("00000000000000000000000000000000000000005", "5.00000000000000000000000000000000000000000"),
)

ORDERS = range(1, 61)

LONG_KEY = 900_001


def rate(day: str, currency: str = "GBP", **values: Any) -> Line:
    return {**RATE, "rate_id": f"{day} {currency}", "rate_date": day, **values}


class HostileLake:
    """Writes the batches of the lake, one after another."""

    def __init__(self, folder: Path) -> None:
        self.writer = LakeWriter(folder)
        self.writer.columns[RATES] = [*RATE]
        self.writer.keys[RATES] = ("rate_id",)

    def write(self) -> list[Manifest]:
        """Write all batches."""
        for step in (
            self.first_rows,
            self.changes,
            self.invalid_values,
            self.texts,
            self.versions_of_the_log,
            self.long_texts,
            self.unreadable_values,
            self.altered_tables,
            self.changes_while_models_wait,
            self.absent_table,
            self.restored_tables,
            self.nothing,
            self.released_rows,
            self.replaced_tables,
            self.released_rows_of_waiting_models,
        ):
            step()
        return self.writer.batches

    def add(self, rows: Mapping[str, Iterable[Line]] | None = None, **options: Any) -> None:
        """Publish a batch with the columns that tables have now."""
        kept = {table: self.kept(table, lines) for table, lines in (rows or {}).items()}
        log = {table: self.kept(table, lines) for table, lines in options.pop("log", {}).items()}
        self.writer.add(kept, log=log, **options)

    def kept(self, table: str, lines: Iterable[Line]) -> list[Line]:
        """Return the lines with the columns that the table has; their name is the missing value."""
        columns = self.writer.columns[table]
        return [
            {name: value for name, value in line.items() if name in RESERVED_NAMES}
            | {name: line.get(name, name) for name in columns}
            if line.get(OPERATION) != "delete"
            else line
            for line in lines
        ]

    def first_rows(self) -> None:
        self.writer.columns["design"] += ["Design_Name", "DESIGN_ID", *HOSTILE_NAMES]
        self.writer.columns["sales_order"] += HOSTILE_NAMES
        self.writer.columns["department"] += ["_batch", "_live", "Location", "a.b"]
        rows: dict[str, list[Line]] = {
            table: [self.many(table, n) for n in range(1, 9)] for table in ROWS
        }
        rows["sales_order"] = [self.many("sales_order", n) for n in ORDERS]
        rows["purchase_order"] = [self.many("purchase_order", n) for n in ORDERS]
        rows["payment"] = [self.many("payment", n) for n in ORDERS]
        rows[RATES] = [rate(f"2026-11-{day:02}", code) for day in (1, 2) for code in ("GBP", "USD")]
        for n, line in enumerate(rows["currency"]):
            line["currency_code"] = ("GBP", "USD", "EUR", "JPY", "XQQ", "gbp", "XAU", "CHF")[n]
        self.add(rows, whole={*ROWS, RATES}, parts=3)

    def many(self, table: str, key: int, **values: Any) -> Line:
        """Return the row with this key, which refers to one of eight others."""
        refers: Line = {
            name: 1 + key % 8
            for name in ("staff_id", "department_id", "design_id", "legal_address_id")
            if name in ROWS[table]
        }
        return row(table, **{**refers, next(iter(ROWS[table])): key, **values})

    def changes(self) -> None:
        """Updates, deletions and a changed key; joined rows change, appear and disappear."""
        deletes: dict[str, list[Any]] = {
            "sales_order": [60, 5],
            "payment": [7, 2**40, "x", "01"],
            "department": [8],
            "design": [8],
            "address": [8],
            RATES: ["2026-11-01 USD"],
        }
        rows: dict[str, list[Line]] = {
            "sales_order": [
                *(self.many("sales_order", n, units_sold=n) for n in range(1, 20, 3)),
                self.many("sales_order", 1060, agreed_delivery_date="2031-01-01"),
            ],
            "department": [
                self.many("department", 2, location=None),
                self.many("department", 9),
            ],
            "staff": [self.many("staff", 9, department_id=9)],
            "address": [self.many("address", 3, city="Leeds")],
            "counterparty": [self.many("counterparty", 9, legal_address_id=4)],
            "design": [self.many("design", 3, design_name="Silk")],
            RATES: [rate("2026-11-02", rate="0.9", carried_forward=True), rate("2026-11-03")],
        }
        self.add(rows, deletes=deletes, parts=2)

    def invalid_values(self) -> None:
        """Every edge case of a text in a column of every type."""
        rows: dict[str, list[Line]] = {}
        for table, column in TYPED_COLUMNS:
            lines = rows.setdefault(table, [])
            for value in (None, *EDGE_CASES, *NUMBERS, *TIMESTAMPS):
                key = 1000 * (1 + len(lines))
                lines.append(
                    rate("2026-10-01", f"X{key}", **{column: value})
                    if table == RATES
                    else self.many(table, key, **{column: value})
                )
        rows["design"] = [  # keys that are no integers
            self.many("design", 0, design_id=value) for value in (*EDGE_CASES[1:], *NUMBERS)
        ]
        rows["transaction"] += [
            self.many("transaction", n, purchase_order_id=value)
            for n, value in enumerate((True, False, -1, 0, 2**31 - 1, -(2**31)), start=1)
        ]
        self.add(rows, deletes={"staff": ["", " 1", "2147483648"]}, parts=3)

    def texts(self) -> None:
        """Texts that a reader, a file or a comparison may change."""
        self.add(
            {
                "design": [
                    self.many("design", 200 + n, design_name=text, file_name=text[::-1])
                    for n, text in enumerate(TEXTS)
                ],
                "address": [
                    self.many("address", 200 + n, city=text, district=text or None)
                    for n, text in enumerate(TEXTS)
                ],
                "counterparty": [
                    self.many("counterparty", 200 + n, legal_address_id=200 + n)
                    for n in range(len(TEXTS))
                ],
                "purchase_order": [
                    self.many("purchase_order", 200 + n, item_code=text, item_quantity=text)
                    if n % 2
                    else self.many("purchase_order", 200 + n, item_code=text)
                    for n, text in enumerate(TEXTS)
                ],
                "currency": [
                    self.many("currency", 200 + n, currency_code=text)
                    for n, text in enumerate(TEXTS)
                ],
            }
        )

    def versions_of_the_log(self) -> None:
        """Many versions of a row, some in one transaction, some deleted in the same batch."""
        writer, number = self.writer, len(self.writer.batches) + 1
        first = writer.captured_at(number - 1) + timedelta(microseconds=1)
        last = writer.captured_at(number)
        middle = first + timedelta(milliseconds=3)
        upsert, delete = writer.upsert, writer.delete
        orders = [
            upsert("sales_order", first, 1, sales_order_id=1, units_sold=1),
            upsert("sales_order", first, 2, sales_order_id=1, units_sold=2),
            upsert("sales_order", middle, 1, sales_order_id=1, units_sold=3, unit_price="x"),
            upsert("sales_order", last, 9, sales_order_id=1, units_sold=4),
            delete("sales_order", middle, 5, 2),
            upsert("sales_order", middle, 6, sales_order_id=2, units_sold=7),
            upsert("sales_order", middle, 5, sales_order_id=3000),
            delete("sales_order", last, 1, 3000),
            upsert("sales_order", last, 2, sales_order_id=3000, units_sold=None),
            delete("sales_order", first, 1, 3),
            delete("sales_order", last, 3, 3),
            upsert("sales_order", first, 3, sales_order_id=3001),
            delete("sales_order", first, 4, 3001),
            *(delete("sales_order", last, 20, n) for n in range(10, 20)),  # a truncation
            upsert("sales_order", last, -(2**62), sales_order_id=21),
            upsert("sales_order", last, 2**62, sales_order_id=21, units_sold=9),
        ]
        designs = [
            upsert("design", first, 1, design_id=1, design_name="A"),
            upsert("design", middle, 1, design_id=1, design_name="B"),
            upsert("design", first, 2, design_id=50, design_name="removed"),
            delete("design", last, 1, 50),
            upsert("design", first, 3, design_id=51, design_name=None),
            delete("design", last, 2, 51),
            delete("design", first, 4, 2),
            upsert("design", last, 4, design_id=2, design_name="again"),
        ]
        departments = [
            upsert("department", first, 1, department_id=1, department_name="A"),
            upsert("department", last, 1, department_id=1, department_name="B"),
            upsert("department", first, 2, department_id=60),
            delete("department", last, 2, 60),
            delete("department", middle, 2, 3),
        ]
        staff = [
            upsert("staff", first, 1, staff_id=60, department_id=60),
            delete("staff", last, 1, 60),
            upsert("staff", middle, 1, staff_id=61, department_id=4),
            delete("staff", last, 1, 61),
            upsert("staff", first, 2, staff_id=62, department_id=4),
        ]
        self.add(
            {"payment": [self.many("payment", n, paid=True) for n in (1, 2)]},
            deletes={"payment": [3]},
            log={
                table: lines[1::2] + lines[::2]
                for table, lines in (
                    ("sales_order", orders),
                    ("design", designs),
                    ("department", departments),
                    ("staff", staff),
                    ("address", []),
                )
            },
            parts=2,
        )

    def long_texts(self) -> None:
        """Texts around the longest one that is accepted, and beyond what readers take."""
        wide = "tote 👜 "  # ten bytes
        texts = (
            "x" * MAX_TEXT_BYTES,
            "x" * (MAX_TEXT_BYTES + 1),
            '"\\\n\x01/é👜' * 20_000,
            "\x01" * MAX_TEXT_BYTES,
            wide * (MAX_TEXT_BYTES // 10) + "x" * 6,
            wide * (MAX_TEXT_BYTES // 10 + 1),
            "é" * (MAX_TEXT_BYTES // 2),
            "x" * 2399 + "é",
            "y" * 2400,
            "👜" * 2_000 + "z",
            wide * 2_200_000,
        )
        self.add(
            {
                "design": [
                    self.many("design", LONG_KEY + n, design_name=text)
                    for n, text in enumerate(texts)
                ],
                "department": [self.many("department", 1, location=texts[1])],
                "purchase_order": [
                    self.many("purchase_order", LONG_KEY + n, item_code=text)
                    for n, text in enumerate(texts[:5])
                ],
                "sales_order": [self.many("sales_order", LONG_KEY, _batch=texts[1])],
            }
        )

    def unreadable_values(self) -> None:
        """Values that could not be read, in facts, dimensions, joined tables and keys."""
        unreadable = (
            {"unreadable": "invalid byte sequence", "hex": "ff00"},
            {"unreadable": 'it\'s 100 % "bad" 👜\n'},
            {"unreadable": "x", "hex": ""},
            {"hex": "00", "unreadable": "other order"},
        )
        rows: dict[str, list[Line]] = {}
        for n, value in enumerate(unreadable):
            key = 700 + n
            for table, column in (
                *(("design", "design_name"), ("sales_order", "unit_price"), ("payment", "paid")),
                *(("address", "city"), ("department", "location"), ("purchase_order", "item_code")),
            ):
                rows.setdefault(table, []).append(self.many(table, key, **{column: value}))
            rows.setdefault("staff", []).append(self.many("staff", key, department_id=key))
            rows.setdefault("counterparty", []).append(
                self.many("counterparty", key, legal_address_id=key)
            )
            rows["design"].append(self.many("design", 0, design_id=value))
        rows["design"] += [self.many("design", 750 + n, design_name=t) for n, t in enumerate(TEXTS)]
        rows["sales_order"].append(self.many("sales_order", 750, unit_price=None, units_sold=5))
        self.add(rows, deletes={"design": [1]}, parts=2)

    def altered_tables(self) -> None:
        """Columns that models read are dropped: those models wait, and get deletions only."""
        for table, column in (
            ("design", "file_name"),
            ("sales_order", "units_sold"),
            ("staff", "email_address"),
        ):
            self.writer.columns[table].remove(column)
        self.writer.columns["address"].reverse()
        self.add(
            {
                "design": [self.many("design", n) for n in range(1, 6)],
                "sales_order": [self.many("sales_order", n) for n in ORDERS],
                "staff": [self.many("staff", n) for n in range(1, 5)],
                "address": [self.many("address", n, phone="0044") for n in range(1, 5)],
                "department": [self.many("department", 2, location="York")],
            },
            deletes={
                "design": [6, 2**40],
                "staff": [5],
                "sales_order": [2000, "9999999999"],
            },
            whole={"design", "sales_order", "staff", "address"},
        )

    def changes_while_models_wait(self) -> None:
        """Rows of the log and of scans in tables whose models wait."""
        writer, number = self.writer, len(self.writer.batches) + 1
        at = writer.captured_at(number)
        self.add(
            {
                "design": [self.many("design", 2, design_name="waits")],
                "department": [self.many("department", 3, location="Hull")],
                "payment": [self.many("payment", 4, payment_date="2040-01-01")],
            },
            deletes={"design": [3], "staff": [2]},
            log={
                "sales_order": [
                    writer.upsert("sales_order", at, 1, sales_order_id=40),
                    writer.delete("sales_order", at, 2, 40),
                    writer.delete("sales_order", at - timedelta(microseconds=5), 1, 41),
                    writer.upsert("sales_order", at, 1, sales_order_id=42),
                ]
            },
        )

    def absent_table(self) -> None:
        """A table that a model reads, and one that a model joins, are not in the source."""
        self.add(
            {"staff": [self.many("staff", 6)], "counterparty": [self.many("counterparty", 1)]},
            deletes={"counterparty": [2]},
            absent=("payment_type", "address"),
        )

    def restored_tables(self) -> None:
        """All models can run again: the tables are captured in full, and models are backfilled."""
        self.writer.columns["design"].append("file_name")
        self.writer.columns["sales_order"].insert(0, "units_sold")
        self.writer.columns["staff"].append("email_address")
        tables = ("design", "sales_order", "staff", "payment_type", "address")
        self.add(
            {
                table: [self.many(table, n) for n in range(2, 8) if n != 3 or table == "staff"]
                for table in tables
            },
            deletes={"design": [4], "address": [4], "sales_order": [43]},
            whole=tables,
            parts=2,
        )

    def nothing(self) -> None:
        self.add()

    def released_rows(self) -> None:
        """Rows of several batches are retried, together with new ones."""
        self.add(
            {
                "sales_order": [self.many("sales_order", 45, agreed_payment_date="1999-12-31")],
                "department": [self.many("department", 700, location="readable now")],
            },
            released=(2, 3, 5, 6, 7),
        )

    def replaced_tables(self) -> None:
        """A joined table loses its key, another becomes smaller, names appear in other cases.

        The new year follows batches in which the models of facts waited or rows were released.
        """
        self.writer.keys["department"] = ()
        self.writer.columns["staff"] += ["STAFF_ID", "First_Name"]
        self.add(
            {
                "payment": [self.many("payment", 5, payment_date="2060-01-01")],
                "department": [self.many("department", n, location="Bath") for n in (1, 2, 4)],
                "counterparty": [self.many("counterparty", n) for n in range(1, 4)],
                "staff": [self.many("staff", n) for n in (2, 3, 4)],
            },
            whole=("department", "counterparty", "address", "staff"),
        )

    def released_rows_of_waiting_models(self) -> None:
        """Rejected deletions of a batch in which models waited are retried."""
        self.add(
            {"department": [self.many("department", 1), self.many("department", 2)]},
            released=(8, 13),
            whole=("department",),
        )


def write_hostile_lake(folder: Path) -> Sequence[Manifest]:
    """Write the lake; return the manifests of its batches."""
    return HostileLake(folder).write()
