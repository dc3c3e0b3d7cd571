-- Payments themselves: the newest paid ones first, or of the open ones the longest due. What they
-- are called is looked up for those that are shown alone.
WITH kind AS {kinds},

shown AS (
    SELECT *
    FROM {payment} AS payment
    WHERE payment.payment_date BETWEEN %(since)s AND %(until)s
        AND payment.paid = %(paid)s
        AND payment.payment_type_id = ANY(ARRAY(SELECT payment_type_id FROM kind))
        AND {narrowed}
        AND {whose}
        AND {only}
    ORDER BY {order}
    LIMIT %(limit)s
)

SELECT
    payment.payment_id,
    payment.payment_date,
    kind.direction,
    kind.payment_type_name AS kind,
    {counterparty_name} AS counterparty,
    counterparty.counterparty_legal_country AS country,
    currency.currency_code AS currency,
    kind.sign * payment.payment_amount AS amount,
    {factor} AS rate,
    round(kind.sign * payment.payment_amount * {factor}, 2) AS value,
    greatest(%(today)s::date - payment.payment_date, 0) AS days_overdue,
    CASE
        WHEN payment.paid OR payment.payment_date >= %(today)s THEN ''
        WHEN extract(ISODOW FROM payment.payment_date) > 5 THEN 'due on a weekend'
        WHEN payment.payment_date = payment.created_date THEN 'due on the day it was made'
        ELSE ''
    END AS why,
    reason.sales_order_id,
    reason.purchase_order_id
FROM shown AS payment
JOIN kind ON kind.payment_type_id = payment.payment_type_id
JOIN dim_counterparty AS counterparty ON counterparty.counterparty_id = payment.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = payment.currency_id
JOIN dim_transaction AS reason ON reason.transaction_id = payment.transaction_id
LEFT JOIN {rates} AS rate ON rate.key = {rate_key}
ORDER BY {order}
