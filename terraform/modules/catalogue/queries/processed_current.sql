-- The rows of ${table} as of the newest batch, in the star's types.
SELECT ${columns}, valid_from
FROM (
    SELECT
        *,
        row_number() OVER (PARTITION BY ${key} ORDER BY valid_from DESC, batch DESC) AS age
    FROM ${table}
) AS versions
WHERE age = 1 AND "_op" = 'upsert'
ORDER BY ${key}
