-- Cash of each day, month or year of the period: what was paid, or what is still to be. NULL where
-- there is some and none can be converted.
WITH summed AS (
    SELECT
        date_trunc(%(grain)s, day::timestamp)::date AS start,
        CASE
            WHEN count(*) FILTER (WHERE direction = 'in') = 0 THEN 0.00
            ELSE round(sum(converted) FILTER (WHERE direction = 'in'), 2)
        END AS cash_in,
        CASE
            WHEN count(*) FILTER (WHERE direction = 'out') = 0 THEN 0.00
            ELSE round(sum(converted) FILTER (WHERE direction = 'out'), 2)
        END AS cash_out,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    WHERE paid = %(paid)s
    GROUP BY 1
)

SELECT
    calendar.start::date AS start,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_in END AS cash_in,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_out END AS cash_out,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_in - summed.cash_out END AS net,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM
    generate_series(
        date_trunc(%(grain)s, %(since)s::date::timestamp),
        %(until)s::date::timestamp,
        ('1 ' || %(grain)s)::interval
    ) AS calendar (start)
LEFT JOIN summed ON summed.start = calendar.start::date
ORDER BY 1
