-- Payments. With which = 'paid': those of the period, newest first. With 'open', 'overdue' or
-- 'uncovered': those of any day, longest due first. Names are looked up only for the rows that are
-- shown.
WITH shown AS (
    SELECT *
    FROM converted_payment
    WHERE selected
        AND CASE getvariable('which')
            WHEN 'paid' THEN paid AND is_in_period(day)
            WHEN 'open' THEN NOT paid
            WHEN 'overdue' THEN NOT paid AND is_overdue(day)
            WHEN 'uncovered' THEN NOT paid AND is_overdue(day) AND lacks_payment_run
        END
    ORDER BY
        CASE WHEN getvariable('which') = 'paid' THEN day END DESC,
        CASE WHEN getvariable('which') <> 'paid' THEN day END,
        payment_id
    LIMIT getvariable('row_limit')
)

SELECT
    shown.payment_id,
    shown.day AS payment_date,
    shown.direction,
    shown.payment_type AS kind,
    shown.counterparty_id,
    counterparty.name AS counterparty,
    counterparty.country,
    currency.currency_code AS currency,
    shown.amount,
    rate_of(shown.rate_high, shown.rate_low) AS rate,
    round(exact(shown.high, shown.low), 2) AS value,
    greatest(getvariable('today') - shown.day, 0) AS days_overdue,
    CASE
        WHEN shown.paid OR shown.day >= getvariable('today') THEN ''
        WHEN isodow(shown.day) > 5 THEN 'due on a weekend'
        WHEN shown.day = shown.created_date THEN 'due on its creation date'
        ELSE ''
    END AS why,
    reason.sales_order_id,
    reason.purchase_order_id
FROM shown
JOIN counterparty ON counterparty.counterparty_id = shown.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = shown.currency_id
JOIN dim_transaction AS reason ON reason.transaction_id = shown.transaction_id
ORDER BY
    CASE WHEN getvariable('which') = 'paid' THEN shown.day END DESC,
    CASE WHEN getvariable('which') <> 'paid' THEN shown.day END,
    shown.payment_id;
