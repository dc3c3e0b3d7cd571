-- The options of the filters, by kind; `rate` are the currencies that have a current rate.
SELECT 'currency' AS kind, currency_id AS id, currency_code AS name FROM dim_currency
UNION
SELECT 'country' AS kind, 0 AS id, country AS name FROM dim_location
UNION
SELECT 'country' AS kind, 0 AS id, counterparty_legal_country AS name FROM dim_counterparty
UNION
SELECT 'department' AS kind, 0 AS id, department_name AS name FROM dim_staff
UNION
SELECT 'counterparty' AS kind, counterparty_id AS id, counterparty_legal_name AS name
FROM dim_counterparty
UNION
SELECT 'rate' AS kind, 0 AS id, currency_code AS name
FROM known_rate
WHERE rate_date = (SELECT max(rate_date) FROM known_rate)
ORDER BY kind, name, id;
