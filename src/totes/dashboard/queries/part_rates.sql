-- Of every currency and day of the period, what an amount is multiplied by. Days that have not come
-- yet take the newest rates there are, within a year.
(
    WITH newest AS (
        SELECT max(rate_date) AS day FROM current_exchange_rate
    ),

    known AS (
        SELECT currency.currency_id, rate.rate_date AS day, rate.rate
        FROM newest
        JOIN exchange_rate_to(%(reporting)s) AS rate
            ON rate.rate_date BETWEEN least(%(since)s::date, newest.day) AND %(until)s::date
        JOIN dim_currency AS currency ON currency.currency_code = rate.currency_code
    )

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
