-- What was changed or deleted last.
WITH ended AS (
    (
        SELECT 'sales_order' AS kind, sales_order_id AS key, valid_to
        FROM fact_sales_order
        WHERE valid_to IS NOT NULL
        ORDER BY valid_to DESC
        LIMIT %(looked_at)s
    )
    UNION ALL
    (
        SELECT 'purchase_order' AS kind, purchase_order_id AS key, valid_to
        FROM fact_purchase_order
        WHERE valid_to IS NOT NULL
        ORDER BY valid_to DESC
        LIMIT %(looked_at)s
    )
    UNION ALL
    (
        SELECT 'payment' AS kind, payment_id AS key, valid_to
        FROM fact_payment
        WHERE valid_to IS NOT NULL
        ORDER BY valid_to DESC
        LIMIT %(looked_at)s
    )
),

newest AS (
    SELECT kind, key, max(valid_to) AS changed_at
    FROM ended
    GROUP BY kind, key
    ORDER BY changed_at DESC, kind, key
    LIMIT %(limit)s
)

SELECT
    kind,
    key,
    CASE kind
        WHEN 'sales_order'
            THEN (
                SELECT count(*) FROM fact_sales_order WHERE sales_order_id = newest.key
            )
        WHEN 'purchase_order'
            THEN (
                SELECT count(*) FROM fact_purchase_order WHERE purchase_order_id = newest.key
            )
        WHEN 'payment' THEN (
            SELECT count(*) FROM fact_payment WHERE payment_id = newest.key
        )
    END AS versions,
    changed_at,
    CASE kind
        WHEN 'sales_order'
            THEN NOT EXISTS (
                    SELECT
                    FROM fact_sales_order
                    WHERE sales_order_id = newest.key AND valid_to IS NULL
                )
        WHEN 'purchase_order'
            THEN NOT EXISTS (
                    SELECT
                    FROM fact_purchase_order
                    WHERE purchase_order_id = newest.key AND valid_to IS NULL
                )
        WHEN 'payment' THEN NOT EXISTS (
                SELECT FROM fact_payment WHERE payment_id = newest.key AND valid_to IS NULL
            )
    END AS deleted
FROM newest
ORDER BY changed_at DESC, kind, key
