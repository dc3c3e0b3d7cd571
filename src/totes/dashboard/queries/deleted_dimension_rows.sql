-- Rows of dimensions that totesys has deleted; the star keeps them.
SELECT table_name, key, deleted_at, batch
FROM totes.deleted_dimension_rows
ORDER BY deleted_at DESC, table_name, key
