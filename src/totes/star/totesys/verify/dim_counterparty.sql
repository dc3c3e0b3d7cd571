-- The expected rows of dim_counterparty: counterparties with their legal address.
SELECT
    c.counterparty_id, c.counterparty_legal_name,
    a.address_line_1, a.address_line_2, a.district, a.city, a.postal_code, a.country, a.phone
FROM counterparty AS c
LEFT JOIN address AS a ON a.address_id = c.legal_address_id
