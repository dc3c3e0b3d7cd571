-- The current sales orders as the daily totals see them.
SELECT
    sales_order_id,
    created_date AS day,
    currency_id,
    counterparty_id,
    sales_staff_id AS staff_id,
    agreed_delivery_location_id AS location_id,
    design_id,
    1 AS orders,
    units_sold AS units,
    units_sold * unit_price AS value
FROM current_sales_order
