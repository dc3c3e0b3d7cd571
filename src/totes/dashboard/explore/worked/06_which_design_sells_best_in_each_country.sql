-- Which design sells best in each country?
WITH sold AS (
    SELECT
        l.country,
        d.design_name,
        sum(s.units_sold) AS units,
        rank() OVER (PARTITION BY l.country ORDER BY sum(s.units_sold) DESC) AS place
    FROM current_sales_order s
    JOIN dim_design d USING (design_id)
    JOIN dim_location l ON l.location_id = s.agreed_delivery_location_id
    GROUP BY l.country, d.design_id, d.design_name
)
SELECT country, design_name, units
FROM sold
WHERE place = 1
ORDER BY country, design_name;
