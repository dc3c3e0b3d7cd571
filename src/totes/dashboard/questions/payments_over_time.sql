-- Cash of each day, week, month or year of the period; NULL if none of its payments has a rate.
WITH summed AS (
    SELECT
        date_trunc(getvariable('grain'), day)::date AS start,
        direction,
        money_sum(true, high, low) AS value,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_payment
    WHERE paid AND is_in_period(day) AND selected
    GROUP BY 1, 2
)

SELECT
    calendar.start,
    CASE WHEN came.start IS NULL THEN 0 ELSE came.value END AS cash_in,
    CASE WHEN went.start IS NULL THEN 0 ELSE went.value END AS cash_out,
    cash_in - cash_out AS net,
    coalesce(came.unconverted, 0) + coalesce(went.unconverted, 0) AS unconverted
FROM calendar
LEFT JOIN summed AS came ON came.start = calendar.start AND came.direction = 'in'
LEFT JOIN summed AS went ON went.start = calendar.start AND went.direction = 'out'
ORDER BY calendar.start;
