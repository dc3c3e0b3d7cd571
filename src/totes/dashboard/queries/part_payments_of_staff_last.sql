-- The same of a version that has ended, by the order as it was last: it may have gone, too.
(
    SELECT coalesce(
        (
            SELECT sale.sales_staff_id
            FROM fact_sales_order AS sale
            WHERE sale.sales_order_id = reason.sales_order_id
                AND sale.valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
            ORDER BY sale.valid_from DESC
            LIMIT 1
        ),
        (
            SELECT purchase.staff_id
            FROM fact_purchase_order AS purchase
            WHERE purchase.purchase_order_id = reason.purchase_order_id
                AND purchase.valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
            ORDER BY purchase.valid_from DESC
            LIMIT 1
        )
    )
    FROM dim_transaction AS reason
    WHERE reason.transaction_id = payment.transaction_id
) = ANY(%(staff_ids)s::int[])
