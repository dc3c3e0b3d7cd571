-- Everything that a filter chooses, in one row.
SELECT
    round(coalesce(sum(converted), 0), 2) AS value,
    coalesce(sum(orders), 0)::bigint AS orders,
    coalesce(sum(units), 0)::bigint AS units,
    coalesce(sum(units) FILTER (WHERE converted IS NOT NULL), 0)::bigint AS converted_units,
    coalesce(sum(orders) FILTER (WHERE converted IS NULL), 0)::bigint AS unconverted
FROM {converted} AS line
