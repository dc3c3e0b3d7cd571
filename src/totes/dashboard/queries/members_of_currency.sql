-- Currencies.
(SELECT currency_id AS id, currency_code AS key, currency_code AS name FROM dim_currency)
