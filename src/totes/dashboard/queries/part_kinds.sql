-- Where the money of each kind of payment goes; refunds take away from what came in or went out.
(
    SELECT type.payment_type_id, type.payment_type_name, told.direction, told.sign
    FROM dim_payment_type AS type
    JOIN (
        VALUES
        ('SALES_RECEIPT', 'in', 1),
        ('SALES_REFUND', 'in', -1),
        ('PURCHASE_PAYMENT', 'out', 1),
        ('PURCHASE_REFUND', 'out', -1)
    ) AS told (payment_type_name, direction, sign)
        ON told.payment_type_name = type.payment_type_name
)
