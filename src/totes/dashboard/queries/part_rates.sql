-- The rates that were asked for once, for all questions of a page. Currency and day make one key,
-- known to be distinct, so that lines are joined to the rates and not the rates to the lines.
(
    SELECT DISTINCT ON (key) key, currency_id, day, rate
    FROM unnest(%(rate_currencies)s::int[], %(rate_days)s::date[], %(rate_factors)s::numeric[])
            AS known (currency_id, day, rate)
    CROSS JOIN LATERAL
        (SELECT (day - DATE '1970-01-01')::bigint * 4294967296 + currency_id) AS made (key)
)
