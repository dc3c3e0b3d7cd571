-- What do we sell, all in pounds?
SELECT
    d.year,
    d.month_name,
    round(sum(s.units_sold * s.unit_price * r.rate), 2) AS value_in_pounds,
    count(*) - count(r.rate) AS not_converted
FROM current_sales_order s
JOIN dim_date d ON d.date_id = s.created_date
JOIN dim_currency c USING (currency_id)
LEFT JOIN exchange_rate_to('GBP') r
    ON r.rate_date = s.created_date AND r.currency_code = c.currency_code
GROUP BY d.year, d.month, d.month_name
ORDER BY d.year, d.month;
