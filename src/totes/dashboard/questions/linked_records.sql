-- The orders and payments that belong to the same transactions as an order or payment.
WITH reason AS (
    SELECT transaction_id, sales_order_id, purchase_order_id
    FROM dim_transaction
    WHERE CASE getvariable('record_kind')
            WHEN 'sales_order' THEN sales_order_id = getvariable('record_key')
            WHEN 'purchase_order' THEN purchase_order_id = getvariable('record_key')
            ELSE transaction_id IN (
                    SELECT transaction_id FROM fact_payment
                    WHERE payment_id = getvariable('record_key')
                )
        END
),

linked AS (
    SELECT *
    FROM record_version
    WHERE (kind, key) IN (
            SELECT ('sales_order', sales_order_id) FROM reason
            UNION ALL
            SELECT ('purchase_order', purchase_order_id) FROM reason
            UNION ALL
            SELECT ('payment', payment_id)
            FROM fact_payment
            WHERE transaction_id IN (SELECT transaction_id FROM reason)
        )
        AND (kind <> getvariable('record_kind') OR key <> getvariable('record_key'))
    QUALIFY row_number() OVER (PARTITION BY kind, key ORDER BY valid_from DESC) = 1
)

SELECT
    linked.kind,
    linked.key,
    linked.transaction_id,
    type.payment_type_name AS payment_type,
    linked.amount,
    currency.currency_code AS currency,
    linked.due,
    linked.paid,
    linked.valid_to AS deleted_at
FROM linked
JOIN dim_currency AS currency ON currency.currency_id = linked.currency_id
LEFT JOIN dim_payment_type AS type ON type.payment_type_id = linked.payment_type_id
ORDER BY linked.kind DESC, linked.key;
