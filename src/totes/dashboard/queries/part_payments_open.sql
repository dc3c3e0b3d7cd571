-- Open payments of a kind that there are few of.
(
    SELECT
        payment_date AS day,
        currency_id,
        payment_type_id,
        paid,
        counterparty_id,
        1 AS payments,
        payment_amount AS value
    FROM {payment} AS payment
    WHERE {only}
        AND {whose}
)
