-- The payments that were open at an earlier moment: those that are, without what came since then and
-- with what ended since.
(
    SELECT day, currency_id, payment_type_id, false AS paid, counterparty_id, payments, value
    FROM {source} AS payment
    WHERE NOT paid
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, false, counterparty_id, -1, -payment_amount
    FROM fact_payment AS payment
    WHERE NOT paid
        AND valid_from > %(earlier)s
        AND {true_now}
        AND {whose}
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, false, counterparty_id, 1, payment_amount
    FROM fact_payment AS payment
    WHERE NOT paid
        AND valid_from <= %(earlier)s
        AND valid_to > %(earlier)s
        AND {ended}
        AND {whose_last}
)
