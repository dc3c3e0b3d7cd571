-- Purchases by item, the dearest first. There are nearly as many items as orders: only what is
-- shown is worked out for more than its place.
WITH summed AS (
    SELECT
        line.item_code AS key,
        sum(line.converted) AS value,
        sum(line.orders) AS orders,
        sum(line.units) AS units,
        sum(line.units) FILTER (WHERE NOT line.lacks_rate) AS converted_units,
        coalesce(sum(line.orders) FILTER (WHERE line.lacks_rate), 0) AS unconverted
    FROM {converted} AS line
    GROUP BY 1
),

dearest AS (
    SELECT *, (SELECT sum(value) FROM summed) AS of_all
    FROM summed
    ORDER BY value DESC NULLS LAST, orders DESC, key
    LIMIT %(limit)s
)

SELECT
    key,
    key AS name,
    round(value, 2) AS value,
    orders::bigint AS orders,
    units::bigint AS units,
    round(value / nullif(converted_units, 0), 4) AS average_price,
    round(value / nullif(of_all, 0), 6) AS share,
    unconverted::bigint AS unconverted
FROM dearest
ORDER BY dearest.value DESC NULLS LAST, dearest.orders DESC, key
