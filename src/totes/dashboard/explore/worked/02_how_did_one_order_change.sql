-- How did one order change?
SELECT
    s.valid_from,
    s.valid_to,
    t.first_name || ' ' || t.last_name AS sold_by,
    s.units_sold,
    s.unit_price,
    s.agreed_delivery_date
FROM fact_sales_order s
JOIN dim_staff t ON t.staff_id = s.sales_staff_id
WHERE s.sales_order_id = 2
ORDER BY s.valid_from;
