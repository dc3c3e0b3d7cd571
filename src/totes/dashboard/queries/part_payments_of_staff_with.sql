-- Lines by the order's member of staff and by counterparty: of open payments there are daily totals.
(
    SELECT
        day,
        currency_id,
        payment_type_id,
        false AS paid,
        counterparty_id,
        payments,
        value
    FROM totes.daily_open_payments
    WHERE staff_id = ANY(%(staff_ids)s::int[])
    UNION ALL
    SELECT
        payment_date,
        currency_id,
        payment_type_id,
        true,
        counterparty_id,
        1,
        payment_amount
    FROM {payment} AS payment
    WHERE paid AND {whose}
)
