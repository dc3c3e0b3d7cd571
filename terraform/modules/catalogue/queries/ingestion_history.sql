-- The history of one row of ${table}. Parameters: its number, and the first year ('2026').
SELECT
    batch,
    captured_at AS valid_from,
    lead(captured_at) OVER (ORDER BY batch) AS valid_to,
    "_op",
    "_xid",
    ${columns}
FROM ${table}
WHERE ${key} = ? AND captured_year >= ?
ORDER BY batch
