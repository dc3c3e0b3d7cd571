-- Customers of the period: new ones, whose first order is in it, and returning ones.
WITH summed AS (
    SELECT
        counterparty_id,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS orders,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_order
    WHERE kind = 'sales' AND is_in_period(day) AND selected
    GROUP BY 1
),

customer AS (
    SELECT
        summed.*,
        CASE WHEN counterparty_id IN (FROM new_customer) THEN 'new' ELSE 'returning' END AS kind
    FROM summed
)

SELECT
    kinds.kind,
    count(customer.kind) AS counterparties,
    coalesce(sum(customer.orders), 0)::bigint AS orders,
    total(sum(customer.orders), sum(customer.high), sum(customer.low)) AS value,
    coalesce(sum(customer.unconverted), 0)::bigint AS unconverted
FROM (VALUES ('new'), ('returning')) AS kinds (kind)
LEFT JOIN customer ON customer.kind = kinds.kind
GROUP BY 1
ORDER BY 1;
