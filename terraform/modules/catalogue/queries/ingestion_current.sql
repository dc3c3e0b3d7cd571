-- ${table} as its source had it at the newest batch. Reads all that was ever captured of the table,
-- since a row may not have changed for years: for many questions, ask the warehouse.
SELECT ${columns}, batch, captured_at
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY ${key} ORDER BY batch DESC) AS age
    FROM ${table}
) AS versions
WHERE age = 1 AND "_op" = 'upsert'
ORDER BY TRY_CAST(${key} AS bigint), ${key}
