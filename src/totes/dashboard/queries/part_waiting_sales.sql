-- Sales orders that wait in quarantine, and whether the filter chooses them: NULL where that can't
-- be told, as the place or the member of staff isn't known either.
(
    SELECT
        waiting.row ->> 'created_date' AS day,
        waiting.row ->> 'currency_id' AS currency_id,
        waiting.row ->> 'counterparty_id' AS counterparty_id,
        waiting.row ->> 'units_sold' AS quantity,
        waiting.row ->> 'unit_price' AS price,
        place.location_id = ANY(%(location_ids)s::int[]) AS in_country,
        staff.staff_id = ANY(%(staff_ids)s::int[]) AS in_department,
        NULL AS direction,
        1 AS sign,
        NULL::boolean AS paid
    FROM newest AS waiting
    LEFT JOIN dim_location AS place
        ON place.location_id::text = waiting.row ->> 'agreed_delivery_location_id'
    LEFT JOIN dim_staff AS staff ON staff.staff_id::text = waiting.row ->> 'sales_staff_id'
)
