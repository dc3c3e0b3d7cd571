-- The files of star rows in the current generation's batches.
SELECT
    batches.generation,
    batches.batch,
    concat('s3://${bucket}/', named.path) AS path
FROM batches
CROSS JOIN UNNEST(transform(batches.files, f -> f.path)) AS named (path)
WHERE batches.generation = (SELECT current_generation.generation FROM current_generation)
