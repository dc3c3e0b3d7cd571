-- Of every other currency of the orders and every day of the period, what an amount is multiplied
-- by, as two arrays. Days that have not come yet take the newest rates there are, within a year.
WITH newest AS (
    SELECT max(rate_date) AS day FROM {known}
),

own AS MATERIALIZED (
    SELECT rate_date AS day, rate::numeric(36, 24) AS rate  -- as exchange_rate_to reckons
    FROM {known}
    WHERE currency_code = %(reporting)s
        AND rate_date BETWEEN least(%(since)s::date, (SELECT day FROM newest)) AND %(until)s::date
),

quoted AS MATERIALIZED (
    SELECT currency.currency_id, quote.rate_date AS day, quote.rate
    FROM {known} AS quote
    JOIN dim_currency AS currency ON currency.currency_code = quote.currency_code
    WHERE quote.currency_code = ANY(
            ARRAY(SELECT currency_code FROM dim_currency WHERE currency_code <> %(reporting)s)
        )
        AND quote.rate_date
        BETWEEN least(%(since)s::date, (SELECT day FROM newest)) AND %(until)s::date
),

rate AS (
    SELECT quoted.currency_id, quoted.day, own.rate / quoted.rate AS rate
    FROM quoted
    JOIN own ON own.day = quoted.day
),

told AS (
    SELECT day, currency_id, rate FROM rate
    UNION ALL
    SELECT ahead.day::date, rate.currency_id, rate.rate
    FROM newest
    JOIN rate ON rate.day = newest.day
    CROSS JOIN
        generate_series(
            greatest(newest.day + 1, %(since)s::date),
            least(newest.day + 366, %(until)s::date),
            interval '1 day'
        ) AS ahead (day)
)

SELECT
    coalesce(array_agg({key} ORDER BY day, currency_id), '{{}}')::text AS rate_keys,
    coalesce(array_agg(rate ORDER BY day, currency_id), '{{}}')::text AS rate_factors
FROM told
