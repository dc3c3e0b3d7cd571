-- All counterparties or staff, by name.
SELECT key, name, details
FROM party
WHERE kind = getvariable('record_kind')
ORDER BY lower(name), key;
