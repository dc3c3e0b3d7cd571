-- Payments that no run pays: the overdue ones, without the few that are only late, which were due
-- on a weekday other than the day they were made.
(
    SELECT day, currency_id, payment_type_id, paid, counterparty_id, payments, value
    FROM {source} AS payment
    WHERE NOT paid AND day < %(today)s
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, paid, counterparty_id, -1, -payment_amount
    FROM {payment} AS payment
    WHERE NOT paid
        AND payment_date < %(today)s
        AND payment_date <> created_date
        AND extract(ISODOW FROM payment_date) <= 5
        AND {whose}
)
