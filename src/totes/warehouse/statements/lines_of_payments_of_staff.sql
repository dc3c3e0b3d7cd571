-- The current payments with the member of staff whose order each is for; NULL where that isn't known.
SELECT
    payment.payment_id,
    payment.payment_date AS day,
    payment.currency_id,
    payment.payment_type_id,
    payment.payment_date = payment.created_date AS due_at_once,
    payment.paid,
    payment.counterparty_id,
    coalesce(sale.sales_staff_id, purchase.staff_id) AS staff_id,
    1 AS payments,
    payment.payment_amount AS value
FROM current_payment AS payment
JOIN dim_transaction AS reason ON reason.transaction_id = payment.transaction_id
LEFT JOIN current_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
LEFT JOIN current_purchase_order AS purchase
    ON purchase.purchase_order_id = reason.purchase_order_id
