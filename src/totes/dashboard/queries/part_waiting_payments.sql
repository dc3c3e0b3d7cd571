-- Payments that wait in quarantine and what is counted instead of them, with their direction and
-- sign, and whether the filter chooses them: NULL where that can't be told, as what they are for or
-- with whom isn't known either.
(
    SELECT
        waiting.key,
        waiting.counted,
        waiting.row ->> 'payment_date' AS day,
        waiting.row ->> 'created_date' AS made,
        waiting.row ->> 'currency_id' AS currency_id,
        waiting.row ->> 'counterparty_id' AS counterparty_id,
        '1' AS quantity,
        waiting.row ->> 'payment_amount' AS price,
        other.counterparty_id = ANY(%(home_ids)s::int[]) AS in_country,
        CASE
            WHEN %(staff_ids)s::int[] IS NOT NULL AND waiting.row ->> 'transaction_id' ~ {whole}
                THEN (
                    SELECT coalesce(sale.sales_staff_id, purchase.staff_id)
                    FROM dim_transaction AS reason
                    LEFT JOIN {sales_order} AS sale
                        ON sale.sales_order_id = reason.sales_order_id
                    LEFT JOIN {purchase_order} AS purchase
                        ON purchase.purchase_order_id = reason.purchase_order_id
                    WHERE reason.transaction_id = (waiting.row ->> 'transaction_id')::bigint
                ) = ANY(%(staff_ids)s::int[])
        END AS in_department,
        kind.direction,
        kind.sign,
        CASE waiting.row ->> 'paid' WHEN 'true' THEN true WHEN 'false' THEN false END AS paid
    FROM versions AS waiting
    LEFT JOIN dim_counterparty AS other
        ON other.counterparty_id::text = waiting.row ->> 'counterparty_id'
    LEFT JOIN {kinds} AS kind
        ON kind.payment_type_id::text = waiting.row ->> 'payment_type_id'
)
