-- How many orders does each department make?
WITH work AS (
    SELECT sales_staff_id AS staff_id, 1 AS sale, 0 AS purchase FROM current_sales_order
    UNION ALL
    SELECT staff_id, 0, 1 FROM current_purchase_order
)
SELECT
    department_name,
    count(DISTINCT staff_id) AS staff,
    coalesce(sum(sale), 0) AS sales_orders,
    coalesce(sum(purchase), 0) AS purchase_orders
FROM dim_staff
LEFT JOIN work USING (staff_id)
GROUP BY department_name
ORDER BY department_name;
