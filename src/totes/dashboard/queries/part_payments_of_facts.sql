-- One line for each payment, with who made the order that it is for.
(
    SELECT
        payment.payment_date AS day,
        payment.currency_id,
        payment.payment_type_id,
        payment.paid,
        payment.counterparty_id,
        coalesce(sale.sales_staff_id, purchase.staff_id) AS staff_id,
        1 AS payments,
        payment.payment_amount AS value
    FROM {payment} AS payment
    LEFT JOIN dim_transaction AS reason ON reason.transaction_id = payment.transaction_id
    LEFT JOIN {sales_order} AS sale ON sale.sales_order_id = reason.sales_order_id
    LEFT JOIN {purchase_order} AS purchase
        ON purchase.purchase_order_id = reason.purchase_order_id
)
