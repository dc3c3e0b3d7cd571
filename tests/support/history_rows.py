"""The rows that the history machine begins with, and the values that it changes."""

from collections.abc import Callable, Mapping
from typing import LiteralString

TABLES: LiteralString = (
    "sales_order, purchase_order, transaction, payment, staff, department, counterparty, address,"
    " design, currency, payment_type"
)

REFERENCE: LiteralString = """
INSERT INTO currency (currency_code, last_updated)
SELECT code, '2022-11-03' FROM unnest(ARRAY['GBP', 'USD', 'EUR']) AS code;
INSERT INTO payment_type (payment_type_name, last_updated)
SELECT name, '2022-11-03' FROM unnest(enum_range(NULL::"PaymentTypeName")) AS name;
INSERT INTO department (department_name, location, manager, last_updated)
VALUES ('Sales', 'Leeds', 'Ann', '2022-11-03'), ('Purchasing', NULL, NULL, '2022-11-03');
INSERT INTO staff (first_name, last_name, department_id, email_address, last_updated)
VALUES ('Irving', 'O''Keefe', 1, 'irving.o''keefe@totes.example', '2022-11-03'),
       ('Jané', 'Ω', 2, 'jane@totes.example', '2022-11-03');
INSERT INTO address (
    address_line_1, address_line_2, city, postal_code, country, phone, last_updated
)
VALUES ('1 "A" Street', NULL, 'Leds', '00123', 'Côte d''Ivoire', '0044', '2022-11-03'),
       ('2 \\ Street', '', '東京', '99999-0001', 'Japan', '+81', '2022-11-03');
INSERT INTO counterparty (counterparty_legal_name, legal_address_id, last_updated)
VALUES ('Fahey & Sons, (Ltd)', 1, '2022-11-03'), ('München GmbH', 2, '2022-11-03');
INSERT INTO design (design_name, file_location, file_name, last_updated)
VALUES ('Wooden', '/usr', 'wooden.json', '2022-11-03'), ('Bronze', '/lib', 'b.json', '2022-11-03'),
       ('Unused', '/tmp', 'u.json', '2022-11-03');
"""
"""Two or three rows of each table, in an empty totesys."""

DATES = ("2022-11-03", "2024-02-29", "2024-12-31", "2026-01-01")
TEXTS = ("", "plain", "O'Keefe \\N", 'a "b",\tc', "Ünïcødé 東京\u2028", "null")

CHANGES: Mapping[str, tuple[tuple[str, Callable[[int], object]], ...]] = {
    "sales_order": (
        ("units_sold", lambda m: 1001 + m),
        ("unit_price", lambda m: f"{2 + m}.{m}0"),
        ("agreed_delivery_date", lambda m: DATES[m % 4]),
        ("staff_id", lambda m: 1 + m % 2),
        ("design_id", lambda m: 1 + m % 2),
    ),
    "purchase_order": (
        ("item_code", lambda m: TEXTS[m]),
        ("item_unit_price", lambda m: f"{m}.05"),
        ("agreed_payment_date", lambda m: DATES[m % 4]),
    ),
    "payment": (
        ("paid", lambda m: m % 2 == 0),
        ("payment_amount", lambda m: f"{m * 1000}.99"),
        ("company_ac_number", lambda m: m),  # the star has no such column
    ),
    "design": (("file_location", lambda m: TEXTS[m]),),
    "department": (
        ("department_name", lambda m: TEXTS[m]),
        ("location", lambda m: TEXTS[m] or None),
    ),
    "address": (("city", lambda m: TEXTS[m]), ("district", lambda m: TEXTS[m] or None)),
    "staff": (("last_name", lambda m: TEXTS[m]), ("department_id", lambda m: 1 + m % 2)),
    "counterparty": (("counterparty_legal_name", lambda m: TEXTS[m]),),
}
"""The columns that are updated, and a function that returns one of six values."""

CHANGEABLE_KEYS = (*CHANGES, "transaction")
