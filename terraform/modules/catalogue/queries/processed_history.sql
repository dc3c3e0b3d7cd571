-- The history of one row of ${table}. Parameters: its number, and the first day ('2026-01-01').
SELECT
    valid_from,
    lead(valid_from) OVER (ORDER BY valid_from, batch) AS valid_to,
    "_op",
    ${columns}
FROM ${table}
WHERE ${key} = ? AND totes_date >= ?
ORDER BY valid_from, batch
