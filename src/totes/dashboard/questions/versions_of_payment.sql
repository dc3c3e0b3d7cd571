-- Every version of one payment, oldest first.
SELECT
    version.valid_from,
    version.valid_to,
    version.created_date,
    version.created_time,
    version.last_updated_date,
    version.last_updated_time,
    type.payment_type_name AS kind,
    counterparty.name AS counterparty,
    version.payment_amount,
    currency.currency_code AS currency,
    version.paid,
    version.payment_date,
    reason.sales_order_id,
    reason.purchase_order_id,
    version.transaction_id,
    version.counterparty_id
FROM fact_payment AS version
JOIN dim_payment_type AS type ON type.payment_type_id = version.payment_type_id
JOIN counterparty ON counterparty.counterparty_id = version.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = version.currency_id
JOIN dim_transaction AS reason ON reason.transaction_id = version.transaction_id
WHERE version.payment_id = getvariable('key')
ORDER BY version.valid_from;
