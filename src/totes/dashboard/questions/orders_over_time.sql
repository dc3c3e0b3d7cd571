-- Orders of each day, week, month or year of the period, those without orders too.
WITH summed AS (
    SELECT
        date_trunc(getvariable('grain'), day)::date AS start,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS orders,
        sum(units) AS units,
        sum(units) FILTER (WHERE NOT lacks_rate) AS converted_units,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_order
    WHERE kind = getvariable('kind') AND is_in_period(day) AND selected
    GROUP BY 1
)

SELECT
    calendar.start,
    total(summed.orders, summed.high, summed.low) AS value,
    exact(summed.high, summed.low) AS exact_value,
    coalesce(summed.orders, 0) AS orders,
    coalesce(summed.units, 0)::bigint AS units,
    coalesce(summed.converted_units, 0)::bigint AS converted_units,
    coalesce(summed.unconverted, 0) AS unconverted
FROM calendar
LEFT JOIN summed ON summed.start = calendar.start
ORDER BY calendar.start;
