-- The designs with the largest sales in each country.
WITH summed AS (
    SELECT
        location_id,
        design_id,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS orders,
        sum(units) AS units,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_order
    WHERE kind = 'sales' AND is_in_period(day) AND selected
    GROUP BY ALL
),

by_country AS (
    SELECT
        place.country,
        summed.design_id,
        exact(sum(summed.high), sum(summed.low)) AS value,
        sum(summed.orders)::bigint AS orders,
        sum(summed.units)::bigint AS units,
        sum(summed.unconverted)::bigint AS unconverted
    FROM summed
    JOIN dim_location AS place ON place.location_id = summed.location_id
    GROUP BY 1, 2
),

ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY country
            ORDER BY value DESC NULLS LAST, design_id
        ) AS place
    FROM by_country
)

SELECT
    ranked.country,
    ranked.place,
    ranked.design_id,
    design.name AS design,
    round(ranked.value, 2) AS value,
    ranked.orders,
    ranked.units,
    ranked.unconverted
FROM ranked
JOIN design ON design.design_id = ranked.design_id
WHERE ranked.place <= getvariable('each')
ORDER BY ranked.country, ranked.place;
