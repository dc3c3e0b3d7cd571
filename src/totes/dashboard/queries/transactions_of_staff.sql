-- The transactions whose orders were made by staff that the filter chooses, as an array.
SELECT coalesce(array_agg(transaction_id), '{{}}')::text AS transaction_ids
FROM (
    SELECT reason.transaction_id
    FROM {sales_order} AS sale
    JOIN dim_transaction AS reason ON reason.sales_order_id = sale.sales_order_id
    WHERE sale.sales_staff_id = ANY(%(staff_ids)s)
    UNION ALL
    SELECT reason.transaction_id
    FROM {purchase_order} AS purchase
    JOIN dim_transaction AS reason ON reason.purchase_order_id = purchase.purchase_order_id
    WHERE purchase.staff_id = ANY(%(staff_ids)s)
        AND NOT EXISTS (
            SELECT FROM {sales_order} AS sale WHERE sale.sales_order_id = reason.sales_order_id
        )
) AS chosen
