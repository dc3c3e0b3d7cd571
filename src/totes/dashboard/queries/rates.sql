-- Of every other currency of the orders and every day of the period, what an amount is multiplied
-- by, as three arrays. Days that have not come yet take the newest rates there are, within a year.
WITH newest AS (
    SELECT max(rate_date) AS day FROM {known}
),

known AS (
    SELECT currency.currency_id, rate.rate_date AS day, rate.rate
    FROM {rates} AS rate
    JOIN dim_currency AS currency ON currency.currency_code = rate.currency_code
    WHERE rate.currency_code = ANY(
        ARRAY(SELECT currency_code FROM dim_currency WHERE currency_code <> %(reporting)s)
    )
        AND rate.rate_date
        BETWEEN least(%(since)s::date, (SELECT day FROM newest)) AND %(until)s::date
),

told AS (
    SELECT currency_id, day, rate FROM known
    UNION ALL
    SELECT known.currency_id, ahead.day::date, known.rate
    FROM newest
    JOIN known ON known.day = newest.day
    CROSS JOIN
        generate_series(
            greatest(newest.day + 1, %(since)s::date),
            least(newest.day + 366, %(until)s::date),
            interval '1 day'
        ) AS ahead (day)
)

SELECT
    coalesce(array_agg(currency_id), '{{}}')::text AS rate_currencies,
    coalesce(array_agg(day), '{{}}')::text AS rate_days,
    coalesce(array_agg(rate), '{{}}')::text AS rate_factors
FROM told
