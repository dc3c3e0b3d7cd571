"""Random changes of a small business between two captures, and random filters for its metrics."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from installation import Installation

from totes.dashboard.filters import Choices, Filter

KENYA = """
INSERT INTO currency VALUES (4, 'KES', now(), now());
"""
"""A currency without a rate of the European Central Bank."""

DAY = timedelta(days=1)
NOW = datetime.now(UTC).date()
"""Exchange rates exist until today, and apply for a year."""

DAYS = (
    date(2021, 12, 30),  # before the first rate
    date(2022, 11, 8),
    date(2022, 11, 12),  # a Saturday
    date(2022, 12, 26),
    date(2023, 1, 31),
)

SALE = """
WITH new_order AS (
    INSERT INTO sales_order SELECT
        nextval(pg_get_serial_sequence('sales_order', 'sales_order_id')), '{day} 09:00', '{day}',
        design_id, staff_id, counterparty_id, {units}, {price}, {currency}, '{day}', '{due}',
        agreed_delivery_location_id
    FROM sales_order ORDER BY md5(sales_order_id || '{salt}') LIMIT 1
    RETURNING *
), new_transaction AS (
    INSERT INTO "transaction" SELECT
        nextval(pg_get_serial_sequence('"transaction"', 'transaction_id')), 'SALE',
        sales_order_id, NULL, created_at, last_updated
    FROM new_order RETURNING *
)
INSERT INTO payment SELECT
    nextval(pg_get_serial_sequence('payment', 'payment_id')), '{day} 09:00', '{day}',
    new_transaction.transaction_id, new_order.counterparty_id,
    {units} * {price}, {currency}, {kind}, {paid},
    '{due}', 1, 2
FROM new_order, new_transaction
"""

ALTERATIONS = (
    """
    UPDATE sales_order SET units_sold = units_sold + 1, currency_id = 1 + units_sold % 4
    WHERE sales_order_id % 5 = {rest}
    """,
    """
    UPDATE sales_order SET staff_id = 1 + staff_id % 20, design_id = 1 + design_id % 9
    WHERE sales_order_id % 5 = {rest}
    """,
    """
    UPDATE purchase_order
    SET item_unit_price = item_unit_price + 0.01, counterparty_id = 1 + counterparty_id % 20
    WHERE purchase_order_id % 5 = {rest}
    """,
    """
    UPDATE sales_order SET created_at = '2022-12-24 10:00' WHERE sales_order_id % 7 = {rest}
    """,
    """
    UPDATE purchase_order SET staff_id = 1 + staff_id % 20 WHERE purchase_order_id % 3 = {rest} % 3
    """,
    """
    UPDATE "transaction" SET sales_order_id = NULL WHERE sales_order_id % 6 = {rest};
    UPDATE "transaction" SET sales_order_id = (
        SELECT max(sales_order_id) FROM sales_order AS s WHERE NOT EXISTS (
            SELECT FROM "transaction" AS t WHERE t.sales_order_id = s.sales_order_id
        )
    )
    WHERE transaction_id = (
        SELECT min(transaction_id) FROM "transaction"
        WHERE coalesce(sales_order_id, purchase_order_id) IS NULL
    )
    """,
    """
    UPDATE payment SET transaction_id = coalesce(
        (
            SELECT min(transaction_id) FROM "transaction" AS t
            WHERE NOT EXISTS (SELECT FROM payment AS p WHERE p.transaction_id = t.transaction_id)
        ),
        transaction_id
    )
    WHERE payment_id = (SELECT max(payment_id) - {rest} FROM payment)
    """,
    "UPDATE staff SET department_id = 1 + department_id % 8 WHERE staff_id % 2 = 0",
    "UPDATE address SET country = 'Turkey' WHERE address_id % 4 = 0",
)

REJECTED_CHANGES = (
    """
    UPDATE sales_order SET agreed_delivery_date = 'soon', units_sold = 5
    WHERE sales_order_id % 11 = {rest}
    """,
    "UPDATE purchase_order SET created_at = '3000-01-01' WHERE purchase_order_id % 11 = {rest}",
    "UPDATE payment SET payment_date = '2023-02-31' WHERE payment_id % 11 = {rest}",
    "UPDATE payment SET created_at = '3000-01-01' WHERE payment_id % 5 = {rest}",
    "UPDATE payment SET created_at = '3001-01-01' WHERE created_at = '3000-01-01'",
    """
    INSERT INTO currency VALUES (5, 'XQX', now(), now()) ON CONFLICT DO NOTHING;
    UPDATE sales_order SET currency_id = 5 WHERE sales_order_id % 11 = {rest}
    """,
)
"""Changes to values that the contract rejects, and to a currency that is not in ISO 4217."""

DELETIONS = (
    "DELETE FROM sales_order WHERE sales_order_id % 9 = {rest}",  # the payment stays
    "DELETE FROM purchase_order WHERE purchase_order_id % 9 = {rest}",
    """
WITH deleted AS (
    SELECT transaction_id, sales_order_id FROM "transaction" WHERE sales_order_id % 9 = {rest}
), paid AS (DELETE FROM payment USING deleted WHERE payment.transaction_id = deleted.transaction_id)
DELETE FROM "transaction" USING deleted WHERE "transaction".transaction_id = deleted.transaction_id;
DELETE FROM sales_order WHERE sales_order_id % 9 = {rest}
""",
)


class RandomBusiness:
    """Makes random changes in an installation's source."""

    def __init__(self, installation: Installation, chance: Random) -> None:
        self.installation = installation
        self.chance = chance

    def step(self) -> None:
        for _ in range(self.chance.randint(2, 5)):
            changes = (self.alter, self.delete, self.pay, self.invalidate, self.repair)
            event = self.chance.choice((self.sell, self.sell, *changes))
            self.installation.change(event())
        self.installation.change(self.invalidate())

    def sell(self) -> str:
        day = self.chance.choice(DAYS)
        return SALE.format(
            day=day,
            due=self.chance.choice(
                (day, day + 3 * DAY, day + 40 * DAY, NOW + 20 * DAY, NOW + 500 * DAY)
            ),
            units=self.chance.randint(1, 99_999),
            price=self.chance.randint(1, 99_999) / Decimal(100),
            currency=self.chance.randint(1, 4),
            kind=self.chance.randint(1, 4),  # receipt or payment, or the refund of one
            paid=self.chance.choice(("true", "false")),
            salt=self.chance.random(),
        )

    def alter(self) -> str:
        rest = self.chance.randint(0, 4)
        return self.chance.choice(ALTERATIONS).format(rest=rest)

    def delete(self) -> str:
        return self.chance.choice(DELETIONS).format(rest=self.chance.randint(0, 8))

    def pay(self) -> str:
        return f"UPDATE payment SET paid = NOT paid WHERE payment_id % 4 = {self._rest()}"

    def invalidate(self) -> str:
        """Return a change to values that the contract rejects, or to an unknown currency."""
        rest = self._rest()
        return self.chance.choice(REJECTED_CHANGES).format(rest=rest)

    def repair(self) -> str:
        return (
            "UPDATE sales_order SET agreed_delivery_date = '2022-12-01'"
            " WHERE agreed_delivery_date = 'soon';"
            "UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 5;"
            "UPDATE payment SET payment_date = '2022-12-01' WHERE payment_date = '2023-02-31';"
            "UPDATE payment SET created_at = '2022-12-01' WHERE created_at = '3001-01-01'"
        )

    def _rest(self) -> int:
        return self.chance.randint(0, 3)

    def filter(self, choices: Choices) -> Filter:
        """Return a random filter."""

        def some(values: Any, most: int) -> tuple[Any, ...]:
            count = self.chance.choice((0, 0, 0, 1, min(most, len(values))))
            return tuple(self.chance.sample(sorted(values), count))

        since = self.chance.choice(
            (choices.first_day, date(2022, 11, 7), date(2022, 12, 1), choices.today - 9 * DAY)
        )
        until = since + timedelta(days=self.chance.choice((0, 6, 30, 400)))
        return Filter(
            since,
            until,
            currencies=some(choices.currencies, 2),
            countries=some(choices.countries, 3),
            departments=some(choices.departments, 3),
            counterparties=some(choices.counterparties, 8),
            reporting=self.chance.choice(("GBP", "EUR", "USD")),
        )
