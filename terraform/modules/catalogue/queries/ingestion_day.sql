-- The changes in ${table} on one day. Parameters: year, month and day, as '2026', '11', '23'.
SELECT batch, captured_at, "_op", ${columns}
FROM ${table}
WHERE captured_year = ? AND captured_month = ? AND captured_day = ?
ORDER BY batch, CAST(${key} AS bigint), "_at", CAST("_seq" AS bigint)
