-- The payments that were true at an earlier moment: those that are, without what came since then
-- and with what ended since.
(
    SELECT day, currency_id, payment_type_id, paid, counterparty_id, payments, value
    FROM {source} AS payment
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, paid, counterparty_id, -1, -payment_amount
    FROM fact_payment AS payment
    WHERE valid_from > %(earlier)s
        AND valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
        AND (valid_to IS NULL OR valid_to > coalesce(%(as_of)s::timestamptz, 'infinity'))
        AND {whose}
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, paid, counterparty_id, 1, payment_amount
    FROM fact_payment AS payment
    WHERE valid_from <= %(earlier)s
        AND valid_to > %(earlier)s
        AND valid_to <= coalesce(%(as_of)s::timestamptz, 'infinity')
        AND {whose}
)
