-- The last version of an order or payment, also if it was deleted; no row if none was accepted.
WITH last AS (
    SELECT
        version.*,
        CASE WHEN is_reporting(version.currency_id) THEN 1 ELSE rate.high_part END AS rate_high,
        CASE WHEN is_reporting(version.currency_id) THEN 0 ELSE rate.low_part END AS rate_low
    FROM record_version AS version
    LEFT JOIN rate ON rate.day = version.day AND rate.currency_id = version.currency_id
    WHERE version.kind = getvariable('record_kind') AND version.key = getvariable('record_key')
    ORDER BY version.valid_from DESC
    LIMIT 1
)

SELECT
    last.kind,
    last.key,
    last.created_date,
    last.created_time,
    counterparty.counterparty_id,
    counterparty.name AS counterparty,
    staff.staff_id,
    staff.name AS staff,
    last.amount,
    currency.currency_code AS currency,
    round(
        exact(
            converted(last.amount, last.rate_high, last.rate_high),
            converted(last.amount, last.rate_high, last.rate_low)
        ),
        2
    ) AS value,
    last.due,
    last.paid,
    type.payment_type_name AS payment_type,
    last.agreed_delivery_date,
    last.transaction_id,
    last.valid_to AS deleted_at
FROM last
JOIN counterparty ON counterparty.counterparty_id = last.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = last.currency_id
LEFT JOIN staff ON staff.staff_id = last.staff_id
LEFT JOIN dim_payment_type AS type ON type.payment_type_id = last.payment_type_id;
