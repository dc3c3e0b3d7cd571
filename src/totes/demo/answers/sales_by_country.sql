-- Sales by country in the month of the newest order: last month, until this month has an order.
SELECT location.country, count(*) AS orders, sum(sale.units_sold) AS bags
FROM current_sales_order AS sale
JOIN dim_location AS location ON location.location_id = sale.agreed_delivery_location_id
WHERE sale.created_date >= (SELECT date_trunc('month', max(created_date)) FROM current_sales_order)
GROUP BY location.country
ORDER BY bags DESC
LIMIT 6
