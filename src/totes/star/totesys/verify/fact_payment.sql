-- The expected current versions in fact_payment.
SELECT
    payment_id,
    created_at::date, created_at::time,
    last_updated::date, last_updated::time,
    transaction_id,
    counterparty_id,
    trim_scale(payment_amount::numeric),
    currency_id,
    payment_type_id,
    paid,
    payment_date
FROM payment
