-- Which suppliers do we buy from?
SELECT
    c.counterparty_legal_name AS supplier,
    y.currency_code,
    count(*) AS orders,
    sum(p.item_quantity * p.item_unit_price) AS value
FROM current_purchase_order p
JOIN dim_counterparty c USING (counterparty_id)
JOIN dim_currency y USING (currency_id)
GROUP BY c.counterparty_id, c.counterparty_legal_name, y.currency_code
ORDER BY value DESC, supplier;
