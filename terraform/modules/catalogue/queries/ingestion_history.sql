-- How one ${table} came to be what it is: its number, and the year since when to look ('2026').
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
