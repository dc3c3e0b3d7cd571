-- The history of one row of ${table}. Parameters: its number, and the first day ('2026-01-01').
-- A version from the write-ahead log is valid from its commit, another one from its capture.
SELECT
    batch,
    coalesce("_at", captured_at) AS valid_from,
    lead(coalesce("_at", captured_at)) OVER (
        ORDER BY batch, "_at", CAST("_seq" AS bigint)
    ) AS valid_to,
    "_op",
    "_xid",
    ${columns}
FROM ${table}
WHERE ${key} = ? AND totes_date >= ?
ORDER BY batch, "_at", CAST("_seq" AS bigint)
