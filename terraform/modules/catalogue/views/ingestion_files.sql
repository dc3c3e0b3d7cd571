-- The files of batches. Orphaned files of killed attempts are in no manifest, so they are
-- not included.
SELECT
    batches.batch,
    batches.captured_at,
    concat('s3://${bucket}/', named.path) AS path
FROM batches
CROSS JOIN UNNEST(
    flatten(transform(batches.tables, t -> transform(t.files, f -> f.path)))
) AS named (path)
