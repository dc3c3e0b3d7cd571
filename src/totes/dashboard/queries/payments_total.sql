-- Paid payments of the period by their direction, or open ones.
SELECT
    direction.direction,
    round(coalesce(sum(line.converted), 0), 2) AS value,
    coalesce(sum(line.payments), 0)::bigint AS payments,
    coalesce(sum(line.payments) FILTER (WHERE line.converted IS NULL), 0)::bigint AS unconverted,
    round(coalesce(sum(line.converted) FILTER (WHERE line.day < %(today)s), 0), 2)
        AS overdue_value,
    coalesce(sum(line.payments) FILTER (WHERE line.day < %(today)s), 0)::bigint
        AS overdue_payments,
    coalesce(
        sum(line.payments) FILTER (WHERE line.converted IS NULL AND line.day < %(today)s), 0
    )::bigint AS overdue_unconverted
FROM (VALUES ('in'), ('out')) AS direction (direction)
LEFT JOIN {converted} AS line
    ON line.direction = direction.direction AND line.paid = %(paid)s
GROUP BY 1
ORDER BY 1
