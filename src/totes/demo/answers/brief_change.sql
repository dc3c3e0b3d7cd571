-- The last sale that was changed and changed back within a second: the three versions.
WITH version AS (
    SELECT
        sales_order_id,
        valid_from,
        row(
            sales_staff_id, design_id, agreed_delivery_date, agreed_delivery_location_id,
            last_updated_date, last_updated_time
        )::text AS state
    FROM fact_sales_order
    WHERE sales_order_id IN (
            SELECT sales_order_id FROM fact_sales_order GROUP BY 1 HAVING count(*) > 2
        )
),

successive AS (
    SELECT
        sales_order_id,
        lag(valid_from, 2) OVER versions AS first_from,
        lag(valid_from) OVER versions AS changed_at,
        valid_from AS changed_back_at,
        state = lag(state, 2) OVER versions AS is_back
    FROM version
    WINDOW versions AS (PARTITION BY sales_order_id ORDER BY valid_from)
),

changed AS (
    SELECT
        sales_order_id,
        first_from,
        changed_back_at
    FROM successive
    WHERE is_back AND changed_back_at - changed_at < interval '1 second'
    ORDER BY changed_back_at DESC, sales_order_id
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
WHERE sale.valid_from BETWEEN changed.first_from AND changed.changed_back_at
ORDER BY sale.valid_from
