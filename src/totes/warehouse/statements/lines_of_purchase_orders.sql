-- The current purchase orders as the daily totals see them.
SELECT
    purchase_order_id,
    created_date AS day,
    currency_id,
    counterparty_id,
    staff_id,
    1 AS orders,
    item_quantity AS units,
    item_quantity * item_unit_price AS value
FROM current_purchase_order
