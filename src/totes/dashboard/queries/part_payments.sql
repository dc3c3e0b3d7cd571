-- The payments that a filter chooses, each with its direction and sign: refunds take away. Their
-- country is the payer's or payee's; the department is that of the order's member of staff.
(
    SELECT
        payment.day,
        payment.currency_id,
        payment.counterparty_id,
        payment.paid,
        payment.payments,
        kind.direction,
        kind.sign * payment.value AS value
    FROM {source} AS payment
    JOIN dim_payment_type AS type ON type.payment_type_id = payment.payment_type_id
    JOIN {kinds} AS kind (payment_type_name, direction, sign)
        ON kind.payment_type_name = type.payment_type_name
    WHERE payment.day BETWEEN %(since)s AND %(until)s
        AND {narrowed}
)
