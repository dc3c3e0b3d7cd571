-- The same for each member of one dimension, the biggest first. Summed by their keys first: there
-- are fewer sums than lines to be named.
WITH of_ids AS (
    SELECT
        line.{id} AS id,
        {own_value} AS own_value,
        sum(line.converted) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units,
        sum(line.units) FILTER (WHERE NOT line.lacks_rate) AS converted_units,
        sum(line.orders) FILTER (WHERE line.lacks_rate) AS unconverted
    FROM {converted} AS line
    GROUP BY 1
),

summed AS (
    SELECT
        member.key,
        member.name,
        sum(of_ids.own_value) AS own_value,
        sum(of_ids.value) AS value,
        sum(of_ids.orders) AS orders,
        sum(of_ids.units) AS units,
        sum(of_ids.converted_units) AS converted_units,
        coalesce(sum(of_ids.unconverted), 0) AS unconverted
    FROM of_ids
    JOIN {members} AS member ON member.id = of_ids.id
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
ORDER BY summed.value DESC NULLS LAST, summed.orders DESC, name, key::text
LIMIT %(limit)s
