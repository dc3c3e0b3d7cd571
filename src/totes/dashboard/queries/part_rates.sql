-- The rates that were asked for once, for all questions of a page. They are known to be distinct, so
-- that lines are joined to the rates and not the rates to the lines.
(
    SELECT DISTINCT ON (key) key, rate
    FROM unnest(%(rate_keys)s::bigint[], %(rate_factors)s::numeric[]) AS known (key, rate)
)
