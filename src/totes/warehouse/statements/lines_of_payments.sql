-- The current payments as the daily totals see them.
SELECT
    payment_id,
    payment_date AS day,
    currency_id,
    payment_type_id,
    payment_date = created_date AS due_at_once,
    paid,
    counterparty_id,
    1 AS payments,
    payment_amount AS value
FROM current_payment
