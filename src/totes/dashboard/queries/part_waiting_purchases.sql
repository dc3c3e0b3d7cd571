-- Purchase orders that wait in quarantine, and whether the filter chooses them: NULL where that
-- can't be told, as the supplier or the member of staff isn't known either.
(
    SELECT
        waiting.row ->> 'created_date' AS day,
        waiting.row ->> 'currency_id' AS currency_id,
        waiting.row ->> 'counterparty_id' AS counterparty_id,
        waiting.row ->> 'item_quantity' AS quantity,
        waiting.row ->> 'item_unit_price' AS price,
        supplier.counterparty_id = ANY(%(home_ids)s::int[]) AS in_country,
        staff.staff_id = ANY(%(staff_ids)s::int[]) AS in_department,
        NULL AS direction,
        1 AS sign,
        NULL::boolean AS paid
    FROM newest AS waiting
    LEFT JOIN dim_counterparty AS supplier
        ON supplier.counterparty_id::text = waiting.row ->> 'counterparty_id'
    LEFT JOIN dim_staff AS staff ON staff.staff_id::text = waiting.row ->> 'staff_id'
)
