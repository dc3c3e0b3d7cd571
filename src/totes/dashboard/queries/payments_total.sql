-- Paid payments of the period by their direction, or open ones; NULL where there are some and none
-- can be converted. Lines may take others away.
WITH summed AS (
    SELECT
        line.direction,
        sum(line.converted) AS value,
        sum(line.payments) AS payments,
        sum(line.payments) FILTER (WHERE line.lacks_rate) AS unconverted,
        sum(line.converted) FILTER (WHERE line.day < %(today)s) AS overdue_value,
        sum(line.payments) FILTER (WHERE line.day < %(today)s) AS overdue_payments,
        sum(line.payments) FILTER (WHERE line.lacks_rate AND line.day < %(today)s)
            AS overdue_unconverted
    FROM {converted} AS line
    WHERE line.paid = %(paid)s
    GROUP BY 1
)

SELECT
    direction.direction,
    CASE
        WHEN coalesce(summed.payments, 0) = 0 THEN 0.00
        WHEN summed.payments <> coalesce(summed.unconverted, 0) THEN round(summed.value, 2)
    END AS value,
    coalesce(summed.payments, 0)::bigint AS payments,
    coalesce(summed.unconverted, 0)::bigint AS unconverted,
    CASE
        WHEN coalesce(summed.overdue_payments, 0) = 0 THEN 0.00
        WHEN summed.overdue_payments <> coalesce(summed.overdue_unconverted, 0)
            THEN round(summed.overdue_value, 2)
    END AS overdue_value,
    coalesce(summed.overdue_payments, 0)::bigint AS overdue_payments,
    coalesce(summed.overdue_unconverted, 0)::bigint AS overdue_unconverted
FROM (VALUES ('in'), ('out')) AS direction (direction)
LEFT JOIN summed ON summed.direction = direction.direction
ORDER BY 1
