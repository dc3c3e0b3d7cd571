-- Customers of the period whose first order ever lies in it, and those who had ordered before.
WITH firsts AS (
    SELECT counterparty_id, min(day) AS first_day
    FROM {ever} AS sale
    GROUP BY 1
),

summed AS (
    SELECT
        counterparty_id,
        sum(orders) AS orders,
        sum(converted) AS value,
        sum(orders) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    GROUP BY 1
),

told AS (
    SELECT
        CASE WHEN firsts.first_day >= %(since)s THEN 'new' ELSE 'returning' END AS kind,
        summed.*
    FROM summed
    JOIN firsts ON firsts.counterparty_id = summed.counterparty_id
)

SELECT
    kinds.kind,
    count(told.counterparty_id) AS counterparties,
    coalesce(sum(told.orders), 0)::bigint AS orders,
    CASE WHEN count(told.kind) = 0 THEN 0.00 ELSE round(sum(told.value), 2) END AS value,
    coalesce(sum(told.unconverted), 0)::bigint AS unconverted
FROM (VALUES ('new'), ('returning')) AS kinds (kind)
LEFT JOIN told ON told.kind = kinds.kind
GROUP BY 1
ORDER BY 1
