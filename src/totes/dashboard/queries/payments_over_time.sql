-- Cash of each day, week, month or year of the period: what was paid, or what is still to be.
WITH summed AS (
    SELECT
        date_trunc(%(grain)s, day::timestamp)::date AS start,
        sum(converted) FILTER (WHERE direction = 'in') AS cash_in,
        sum(converted) FILTER (WHERE direction = 'out') AS cash_out,
        sum(payments) FILTER (WHERE converted IS NULL) AS unconverted
    FROM {converted} AS line
    WHERE paid = %(paid)s
    GROUP BY 1
)

SELECT
    calendar.start::date AS start,
    round(coalesce(summed.cash_in, 0), 2) AS cash_in,
    round(coalesce(summed.cash_out, 0), 2) AS cash_out,
    round(coalesce(summed.cash_in, 0), 2) - round(coalesce(summed.cash_out, 0), 2) AS net,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM
    generate_series(
        date_trunc(%(grain)s, %(since)s::date::timestamp),
        %(until)s::date::timestamp,
        ('1 ' || %(grain)s)::interval
    ) AS calendar (start)
LEFT JOIN summed ON summed.start = calendar.start::date
ORDER BY 1
