-- The history of one row of ${table}. Parameters: its number, and the first year ('2026').
SELECT
    valid_from,
    lead(valid_from) OVER (ORDER BY valid_from, batch) AS valid_to,
    "_op",
    ${columns}
FROM ${table}
WHERE ${key} = ? AND captured_year >= ?
ORDER BY valid_from, batch
