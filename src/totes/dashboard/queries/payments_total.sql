-- Paid payments of the period by their direction, or open ones; NULL where there are some and none
-- can be converted. Lines may take others away.
WITH by_kind AS (
    SELECT
        payment_type_id,
        day < %(today)s AS overdue,
        sum(converted) AS value,
        sum(payments) AS payments,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    WHERE paid = %(paid)s
    GROUP BY 1, 2
),

summed AS (
    SELECT
        kind.direction,
        sum(kind.sign * by_kind.value) AS value,
        sum(by_kind.payments) AS payments,
        sum(by_kind.unconverted) AS unconverted,
        sum(kind.sign * by_kind.value) FILTER (WHERE by_kind.overdue) AS overdue_value,
        sum(by_kind.payments) FILTER (WHERE by_kind.overdue) AS overdue_payments,
        sum(by_kind.unconverted) FILTER (WHERE by_kind.overdue) AS overdue_unconverted
    FROM by_kind
    JOIN {kinds} AS kind ON kind.payment_type_id = by_kind.payment_type_id
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
