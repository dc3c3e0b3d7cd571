-- The days of the first and the newest order, and the share of orders that are made at weekends.
SELECT
    min(day) AS first_day,
    max(day) AS last_day,
    count(*) FILTER (WHERE isodow(day) > 5) / count(*) AS at_weekends
FROM current_order;
