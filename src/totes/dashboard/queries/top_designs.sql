-- The designs that sell best in each country.
WITH summed AS (
    SELECT
        place.country,
        line.design_id,
        coalesce(sum(line.converted), 0) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units
    FROM {converted} AS line
    JOIN dim_location AS place ON place.location_id = line.location_id
    GROUP BY 1, 2
),

ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY country ORDER BY value DESC, design_id) AS place
    FROM summed
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
