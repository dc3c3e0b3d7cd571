-- The same for each member of one dimension, the biggest first.
WITH summed AS (
    SELECT
        member.key,
        member.name,
        sum(line.value) AS own_value,
        coalesce(sum(line.converted), 0) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units,
        sum(line.units) FILTER (WHERE line.converted IS NOT NULL) AS converted_units,
        coalesce(sum(line.orders) FILTER (WHERE line.converted IS NULL), 0) AS unconverted
    FROM {converted} AS line
    JOIN {members} AS member ON member.id = line.{id}
    GROUP BY 1, 2
)

SELECT
    key,
    name,
    round(value, 2) AS value,
    orders::bigint AS orders,
    units::bigint AS units,
    round(value / nullif(converted_units, 0), 4) AS average_price,
    round(value / nullif(sum(value) OVER (), 0), 6) AS share,
    unconverted::bigint AS unconverted,
    round(own_value, 2) AS own_value
FROM summed
ORDER BY summed.value DESC, summed.orders DESC, name, key::text
LIMIT %(limit)s
