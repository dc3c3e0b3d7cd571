-- One line for each payment, of those of anybody or of the staff that the filter chooses.
(
    SELECT
        payment_date AS day,
        currency_id,
        payment_type_id,
        payment_date = created_date AS due_at_once,
        paid,
        counterparty_id,
        1 AS payments,
        payment_amount AS value
    FROM {payment} AS payment
    WHERE {whose}
)
