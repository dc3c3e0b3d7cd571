-- The transactions of orders by the selected staff: see views.sql.
CREATE OR REPLACE TEMP TABLE selected_transaction AS
SELECT reason.transaction_id
FROM dim_transaction AS reason
JOIN fact_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
WHERE is_current(sale.valid_from, sale.valid_to)
    AND list_contains(getvariable('staff_ids'), sale.sales_staff_id)
UNION ALL
SELECT reason.transaction_id
FROM dim_transaction AS reason
JOIN fact_purchase_order AS purchase ON purchase.purchase_order_id = reason.purchase_order_id
WHERE is_current(purchase.valid_from, purchase.valid_to)
    AND list_contains(getvariable('staff_ids'), purchase.staff_id)
    AND NOT EXISTS (
        FROM fact_sales_order AS sale
        WHERE sale.sales_order_id = reason.sales_order_id
            AND is_current(sale.valid_from, sale.valid_to)
    );
