-- Paid payments of the period by their direction, or open ones; NULL where
-- there are some and none can be converted.
SELECT
    direction.direction,
    CASE WHEN count(line.day) = 0 THEN 0.00 ELSE round(sum(line.converted), 2) END AS value,
    coalesce(sum(line.payments), 0)::bigint AS payments,
    coalesce(sum(line.payments) FILTER (WHERE line.converted IS NULL), 0)::bigint AS unconverted,
    CASE
        WHEN count(line.day) FILTER (WHERE line.day < %(today)s) = 0 THEN 0.00
        ELSE round(sum(line.converted) FILTER (WHERE line.day < %(today)s), 2)
    END AS overdue_value,
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
