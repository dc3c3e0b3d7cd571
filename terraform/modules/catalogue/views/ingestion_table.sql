-- All versions of the rows of ${table} in batches, with values as PostgreSQL prints them.
SELECT
    files.batch,
    files.captured_at,
    ${columns},
    rows_.captured_year,
    rows_.captured_month,
    rows_.captured_day
FROM ${table}_raw AS rows_
INNER JOIN files ON rows_."$path" = files.path
