-- The newest design without orders. A design that an open transaction refers to is skipped.
SELECT design_id
FROM design
WHERE NOT EXISTS (SELECT FROM sales_order WHERE sales_order.design_id = design.design_id)
ORDER BY design_id DESC
LIMIT 1
FOR UPDATE SKIP LOCKED
