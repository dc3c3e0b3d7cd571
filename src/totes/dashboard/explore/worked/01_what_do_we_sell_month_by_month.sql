-- What do we sell, month by month?
SELECT
    d.year,
    d.month_name,
    c.currency_code,
    count(*) AS orders,
    sum(s.units_sold * s.unit_price) AS value
FROM current_sales_order s
JOIN dim_date d ON d.date_id = s.created_date
JOIN dim_currency c USING (currency_id)
GROUP BY d.year, d.month, d.month_name, c.currency_code
ORDER BY d.year, d.month, c.currency_code;
