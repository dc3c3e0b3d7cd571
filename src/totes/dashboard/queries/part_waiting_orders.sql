-- Orders that wait in quarantine and what is counted instead of them, and whether the filter chooses
-- them: NULL where that can't be told, as the one who tells the country or the member of staff isn't
-- known either.
(
    SELECT
        waiting.key,
        waiting.counted,
        waiting.row ->> 'created_date' AS day,
        waiting.row ->> 'created_date' AS made,
        waiting.row ->> 'currency_id' AS currency_id,
        waiting.row ->> 'counterparty_id' AS counterparty_id,
        waiting.row ->> {quantity} AS quantity,
        waiting.row ->> {price} AS price,
        place.{place_id} = ANY({chosen_places}::int[]) AS in_country,
        staff.staff_id = ANY(%(staff_ids)s::int[]) AS in_department,
        NULL AS direction,
        1 AS sign,
        NULL::boolean AS paid
    FROM versions AS waiting
    LEFT JOIN {places} AS place ON place.{place_id}::text = waiting.row ->> {place}
    LEFT JOIN dim_staff AS staff ON staff.staff_id::text = waiting.row ->> {staff}
)
