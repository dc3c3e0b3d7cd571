-- The expected current versions in fact_purchase_order.
SELECT
    purchase_order_id,
    created_at::date, created_at::time,
    last_updated::date, last_updated::time,
    staff_id,
    counterparty_id,
    item_code,
    item_quantity,
    trim_scale(item_unit_price::numeric),
    currency_id,
    agreed_delivery_date,
    agreed_payment_date,
    agreed_delivery_location_id
FROM purchase_order
