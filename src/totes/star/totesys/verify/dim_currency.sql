-- The expected rows of dim_currency. Params: iso_codes, iso_names (arrays of the same length).
SELECT c.currency_id, c.currency_code, iso.name
FROM currency AS c
LEFT JOIN unnest(%(iso_codes)s::text[], %(iso_names)s::text[]) AS iso (code, name)
    ON iso.code = c.currency_code
