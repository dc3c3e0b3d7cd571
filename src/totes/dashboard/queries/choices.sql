-- What there is to choose from, by kind.
SELECT 'currency' AS kind, currency_id AS id, currency_code AS name FROM dim_currency
UNION
SELECT 'country', 0, country FROM dim_location
UNION
SELECT 'country', 0, counterparty_legal_country FROM dim_counterparty
UNION
SELECT 'department', 0, department_name FROM dim_staff
UNION
SELECT 'counterparty', counterparty_id, counterparty_legal_name FROM dim_counterparty
UNION
SELECT 'rate', 0, currency_code
FROM current_exchange_rate
WHERE rate_date = (SELECT max(rate_date) FROM current_exchange_rate)
ORDER BY 1, 3, 2
