-- What were the totals at the end of a past day?
SELECT c.currency_code, count(*) AS orders, sum(s.units_sold * s.unit_price) AS value
FROM sales_order_as_of('2022-11-03 23:59:59+00') s
JOIN dim_currency c USING (currency_id)
GROUP BY c.currency_code
ORDER BY c.currency_code;
