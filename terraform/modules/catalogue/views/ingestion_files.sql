-- The files that a batch is made of: what a killed attempt left is in no manifest, so not here.
SELECT
    batches.batch,
    batches.captured_at,
    concat('s3://${bucket}/', named.path) AS path
FROM batches
CROSS JOIN UNNEST(
    flatten(transform(batches.tables, t -> transform(t.files, f -> f.path)))
) AS named (path)
