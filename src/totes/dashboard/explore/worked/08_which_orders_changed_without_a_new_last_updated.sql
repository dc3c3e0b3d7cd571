-- Which orders changed without a new `last_updated`?
SELECT
    new.sales_order_id,
    new.valid_from AS changed_at,
    old.sales_staff_id AS old_staff,
    new.sales_staff_id AS new_staff,
    old.agreed_delivery_date AS old_delivery,
    new.agreed_delivery_date AS new_delivery
FROM fact_sales_order new
JOIN fact_sales_order old
    ON old.sales_order_id = new.sales_order_id AND old.valid_to = new.valid_from
WHERE (new.last_updated_date, new.last_updated_time)
    = (old.last_updated_date, old.last_updated_time)
ORDER BY changed_at, new.sales_order_id;
