-- The days that periods are counted from: what the data is known to, the first and newest order.
SELECT
    (
        SELECT greatest(freshness.data_to, freshness.checked_at) FROM totes.freshness
    ) AS known_to,
    min(orders.first_day) AS first_day,
    max(orders.last_day) AS last_day,
    (SELECT min(captured_at) FROM totes.batches) AS history_begins
FROM (
    SELECT min(sale.day) AS first_day, max(sale.day) AS last_day FROM {sales} AS sale
    UNION ALL
    SELECT min(purchase.day), max(purchase.day) FROM {purchases} AS purchase
) AS orders
