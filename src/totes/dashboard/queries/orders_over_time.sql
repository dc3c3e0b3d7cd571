-- The same for each day, month or year of the period, those without orders too.
WITH summed AS (
    SELECT
        date_trunc(%(grain)s, day::timestamp)::date AS start,
        sum(converted) AS value,
        sum(orders) AS orders,
        sum(units) AS units,
        sum(units) FILTER (WHERE NOT lacks_rate) AS converted_units,
        sum(orders) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    GROUP BY 1
)

SELECT
    calendar.start::date AS start,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE round(summed.value, 2) END AS value,
    coalesce(summed.orders, 0)::bigint AS orders,
    coalesce(summed.units, 0)::bigint AS units,
    round(summed.value / nullif(summed.converted_units, 0), 4) AS average_price,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM
    generate_series(
        date_trunc(%(grain)s, %(since)s::date::timestamp),
        %(until)s::date::timestamp,
        ('1 ' || %(grain)s)::interval
    ) AS calendar (start)
LEFT JOIN summed ON summed.start = calendar.start::date
ORDER BY 1
