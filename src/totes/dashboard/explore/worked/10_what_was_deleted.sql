-- What was deleted?
SELECT DISTINCT ON (s.sales_order_id)
    s.sales_order_id,
    s.valid_to AS deleted_at,
    s.units_sold * s.unit_price AS value
FROM fact_sales_order s
WHERE NOT EXISTS (
    SELECT 1 FROM current_sales_order c WHERE c.sales_order_id = s.sales_order_id
)
ORDER BY s.sales_order_id, s.valid_to DESC;
