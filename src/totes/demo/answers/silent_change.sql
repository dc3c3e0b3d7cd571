-- All versions of the last changed order whose last_updated is the same in every version, and whose
-- earlier versions lasted at least a second each (brief_change.sql has shorter changes).
WITH changed AS (
    SELECT sales_order_id
    FROM fact_sales_order
    GROUP BY sales_order_id
    HAVING count(*) > 1 AND count(DISTINCT last_updated_date + last_updated_time) = 1
        AND min(valid_to - valid_from) >= interval '1 second'
    ORDER BY max(valid_from) DESC, sales_order_id
    LIMIT 1
)

SELECT
    sale.sales_order_id,
    sale.valid_from,
    sale.last_updated_date + sale.last_updated_time AS last_updated,
    staff.first_name || ' ' || staff.last_name AS sold_by,
    design.design_name AS design,
    sale.agreed_delivery_date AS delivery,
    location.city
FROM fact_sales_order AS sale
JOIN changed USING (sales_order_id)
JOIN dim_staff AS staff ON staff.staff_id = sale.sales_staff_id
JOIN dim_design AS design USING (design_id)
JOIN dim_location AS location ON location.location_id = sale.agreed_delivery_location_id
ORDER BY sale.valid_from
