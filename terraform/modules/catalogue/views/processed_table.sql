-- All versions of the rows of ${table} in the current generation.
SELECT
    files.batch,
    ${columns},
    rows_.totes_date
FROM ${table}_raw AS rows_
INNER JOIN files ON rows_."$path" = files.path AND rows_.generation = files.generation
