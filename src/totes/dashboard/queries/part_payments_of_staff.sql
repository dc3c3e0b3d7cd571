-- That a payment is for an order of the staff that the filter chooses, looked up for one after
-- another: where there are few of them, or the first that are found are enough.
(
    SELECT coalesce(sale.sales_staff_id, purchase.staff_id)
    FROM dim_transaction AS reason
    LEFT JOIN current_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
    LEFT JOIN current_purchase_order AS purchase
        ON purchase.purchase_order_id = reason.purchase_order_id
    WHERE reason.transaction_id = payment.transaction_id
) = ANY(%(staff_ids)s::int[])
