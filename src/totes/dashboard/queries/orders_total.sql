-- Everything that a filter chooses, in one row. What can't be converted is no zero: NULL.
SELECT
    CASE WHEN count(*) = 0 THEN 0.00 ELSE round(sum(converted), 2) END AS value,
    coalesce(sum(orders), 0)::bigint AS orders,
    coalesce(sum(units), 0)::bigint AS units,
    coalesce(sum(units) FILTER (WHERE NOT lacks_rate), 0)::bigint AS converted_units,
    coalesce(sum(orders) FILTER (WHERE lacks_rate), 0)::bigint AS unconverted
FROM {converted} AS line
