-- The history of one row of ${table}: its number, and the year since when to look ('2026').
SELECT
    valid_from,
    lead(valid_from) OVER (ORDER BY valid_from, batch) AS valid_to,
    "_op",
    ${columns}
FROM ${table}
WHERE ${key} = ? AND captured_year >= ?
ORDER BY valid_from, batch
