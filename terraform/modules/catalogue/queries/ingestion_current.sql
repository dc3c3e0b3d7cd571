-- The rows of ${table} in the source as of the newest batch. This reads the table's whole history:
-- a row may not have changed for years. The warehouse is faster for many queries.
SELECT ${columns}, batch, captured_at
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY ${key}
            ORDER BY batch DESC, "_at" DESC, CAST("_seq" AS bigint) DESC
        ) AS age
    FROM ${table}
) AS versions
WHERE age = 1 AND "_op" = 'upsert'
ORDER BY TRY_CAST(${key} AS bigint), ${key}
