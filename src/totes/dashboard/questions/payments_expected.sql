-- Open payments that are due on each day of the period; those that no payment run covers are
-- separate (`uncovered_…`). A sum is NULL if none of its payments has a rate.
WITH summed AS (
    SELECT
        day,
        total(
            count(*) FILTER (WHERE direction = 'in' AND NOT lacks_payment_run),
            sum(high) FILTER (WHERE direction = 'in' AND NOT lacks_payment_run),
            sum(low) FILTER (WHERE direction = 'in' AND NOT lacks_payment_run)
        ) AS came,
        total(
            count(*) FILTER (WHERE direction = 'out' AND NOT lacks_payment_run),
            sum(high) FILTER (WHERE direction = 'out' AND NOT lacks_payment_run),
            sum(low) FILTER (WHERE direction = 'out' AND NOT lacks_payment_run)
        ) AS went,
        total(
            count(*) FILTER (WHERE direction = 'in' AND lacks_payment_run),
            sum(high) FILTER (WHERE direction = 'in' AND lacks_payment_run),
            sum(low) FILTER (WHERE direction = 'in' AND lacks_payment_run)
        ) AS uncovered_came,
        total(
            count(*) FILTER (WHERE direction = 'out' AND lacks_payment_run),
            sum(high) FILTER (WHERE direction = 'out' AND lacks_payment_run),
            sum(low) FILTER (WHERE direction = 'out' AND lacks_payment_run)
        ) AS uncovered_went,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_payment
    WHERE NOT paid AND is_in_period(day) AND selected
    GROUP BY day
)

SELECT
    calendar.start AS day,
    CASE WHEN summed.day IS NULL THEN 0 ELSE summed.came END AS cash_in,
    CASE WHEN summed.day IS NULL THEN 0 ELSE summed.went END AS cash_out,
    cash_in - cash_out AS net,
    CASE WHEN summed.day IS NULL THEN 0 ELSE summed.uncovered_came END AS uncovered_in,
    CASE WHEN summed.day IS NULL THEN 0 ELSE summed.uncovered_went END AS uncovered_out,
    coalesce(summed.unconverted, 0) AS unconverted
FROM calendar
LEFT JOIN summed ON summed.day = calendar.start
ORDER BY calendar.start;
