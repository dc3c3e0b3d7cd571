-- Lines with their value in the reporting currency; NULL where there is no rate.
(
    SELECT
        line.*,
        CASE
            WHEN line.currency_id = ANY(%(own_ids)s::int[]) THEN line.value
            ELSE line.value * rate.rate
        END AS converted,
        rate.rate IS NULL AND line.currency_id <> ALL(%(own_ids)s::int[]) AS lacks_rate
    FROM {lines} AS line
    LEFT JOIN {rates} AS rate ON rate.key = {key}
)
