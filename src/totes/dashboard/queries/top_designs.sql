-- The designs that sell best in each country. Summed by keys first, which is much less work.
WITH summed AS (
    SELECT
        line.location_id,
        line.design_id,
        sum(line.converted) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units,
        sum(line.orders) FILTER (WHERE line.lacks_rate) AS unconverted
    FROM {converted} AS line
    GROUP BY 1, 2
),

ranked AS (
    SELECT
        place.country,
        summed.design_id,
        sum(summed.value) AS value,
        sum(summed.orders) AS orders,
        sum(summed.units) AS units,
        sum(summed.unconverted) AS unconverted,
        row_number() OVER (
            PARTITION BY place.country
            ORDER BY sum(summed.value) DESC NULLS LAST, summed.design_id
        ) AS place
    FROM summed
    JOIN dim_location AS place ON place.location_id = summed.location_id
    GROUP BY 1, 2
)

SELECT
    ranked.country,
    ranked.place,
    ranked.design_id,
    {design_name} AS design,
    round(ranked.value, 2) AS value,
    ranked.orders::bigint AS orders,
    ranked.units::bigint AS units,
    coalesce(ranked.unconverted, 0)::bigint AS unconverted
FROM ranked
JOIN dim_design AS design ON design.design_id = ranked.design_id
WHERE ranked.place <= %(each)s
ORDER BY ranked.country, ranked.place
