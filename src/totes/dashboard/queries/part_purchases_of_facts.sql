-- One line for each purchase order.
(
    SELECT
        created_date AS day,
        currency_id,
        counterparty_id,
        staff_id,
        item_code,
        1 AS orders,
        item_quantity AS units,
        item_quantity * item_unit_price AS value
    FROM {purchase_order}
)
