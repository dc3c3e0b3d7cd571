-- All versions of the rows of ${table} in the current generation.
SELECT
    files.batch,
    ${columns},
    rows_.captured_year,
    rows_.captured_month,
    rows_.captured_day
FROM ${table}_raw AS rows_
INNER JOIN files ON rows_."$path" = files.path AND rows_.generation = files.generation
