-- Captures that found at least `at_least` orders or payments deleted, and 1 % of the current ones.
WITH version AS (
    SELECT 'sales order' AS kind, sales_order_id AS key, valid_from, valid_to
    FROM fact_sales_order
    UNION ALL
    SELECT 'purchase order' AS kind, purchase_order_id AS key, valid_from, valid_to
    FROM fact_purchase_order
    UNION ALL
    SELECT 'payment' AS kind, payment_id AS key, valid_from, valid_to
    FROM fact_payment
),

many AS (
    SELECT kind, valid_to AS deleted_at
    FROM version
    WHERE valid_to IS NOT NULL
    GROUP BY ALL
    HAVING count(*) >= getvariable('at_least')
),

deleted AS (
    SELECT ended.kind, ended.valid_to AS deleted_at, count(*) AS row_count
    FROM version AS ended
    JOIN many ON many.kind = ended.kind AND many.deleted_at = ended.valid_to
    LEFT JOIN version AS newer
        ON newer.kind = ended.kind
            AND newer.key = ended.key
            AND newer.valid_from = ended.valid_to
    WHERE newer.key IS NULL
    GROUP BY ALL
)

SELECT deleted.deleted_at, deleted.kind, deleted.row_count
FROM deleted
JOIN (SELECT kind, count(*) AS row_count FROM version WHERE valid_to IS NULL GROUP BY kind) AS now
    ON now.kind = deleted.kind
WHERE deleted.row_count >= getvariable('at_least') AND deleted.row_count * 100 >= now.row_count
ORDER BY deleted.deleted_at, deleted.kind;
