-- Where the money of each kind of payment goes; refunds take away from what came in or went out.
(
    VALUES
    ('SALES_RECEIPT', 'in', 1),
    ('SALES_REFUND', 'in', -1),
    ('PURCHASE_PAYMENT', 'out', 1),
    ('PURCHASE_REFUND', 'out', -1)
)
