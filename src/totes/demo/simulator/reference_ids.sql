-- The ids that new rows may refer to.
SELECT
    (SELECT array_agg(design_id ORDER BY design_id) FROM design),
    (SELECT array_agg(staff_id ORDER BY staff_id) FROM staff),
    (SELECT array_agg(counterparty_id ORDER BY counterparty_id) FROM counterparty),
    (SELECT array_agg(address_id ORDER BY address_id) FROM address),
    (SELECT array_agg(department_id ORDER BY department_id) FROM department),
    (SELECT json_object_agg(currency_id, currency_code ORDER BY currency_id) FROM currency)
