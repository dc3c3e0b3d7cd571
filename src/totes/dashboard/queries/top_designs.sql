-- The designs that sell best in each country. Summed by keys first, which is much less work.
WITH summed AS (
    SELECT
        line.location_id,
        line.design_id,
        sum(line.converted) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units
    FROM {converted} AS line
    GROUP BY 1, 2
),

ranked AS (
    SELECT
        place.country,
        summed.design_id,
        coalesce(sum(summed.value), 0) AS value,
        sum(summed.orders) AS orders,
        sum(summed.units) AS units,
        row_number() OVER (
            PARTITION BY place.country
            ORDER BY coalesce(sum(summed.value), 0) DESC, summed.design_id
        ) AS place
    FROM summed
    JOIN dim_location AS place ON place.location_id = summed.location_id
    GROUP BY 1, 2
)

SELECT
    ranked.country,
    ranked.place,
    design.design_name AS design,
    round(ranked.value, 2) AS value,
    ranked.orders::bigint AS orders,
    ranked.units::bigint AS units
FROM ranked
JOIN dim_design AS design ON design.design_id = ranked.design_id
WHERE ranked.place <= %(each)s
ORDER BY ranked.country, ranked.place
