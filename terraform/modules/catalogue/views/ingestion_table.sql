-- All versions of the rows of ${table} in batches, with values as PostgreSQL prints them.
SELECT
    files.batch,
    files.captured_at,
    ${columns},
    rows_.totes_date
FROM ${table}_raw AS rows_
INNER JOIN files ON rows_."$path" = files.path
