-- The rows of batches' files, each with the number of its batch.
SELECT r.* EXCLUDE (_path), b._batch
FROM read_parquet([{paths}], hive_partitioning = false, filename = '_path') AS r
JOIN (VALUES {batches}) AS b (path, _batch) ON r._path = b.path
