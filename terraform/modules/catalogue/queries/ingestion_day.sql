-- The changes in ${table} on one day. Parameter: the UTC day of the capture ('2026-11-23').
SELECT batch, captured_at, "_op", ${columns}
FROM ${table}
WHERE totes_date = ?
ORDER BY batch, CAST(${key} AS bigint), "_at", CAST("_seq" AS bigint)
