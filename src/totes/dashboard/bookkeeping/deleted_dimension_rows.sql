-- Dimension rows that were deleted in totesys; they remain in the star.
SELECT table_name, key, deleted_at, batch
FROM totes.deleted_dimension_rows
ORDER BY deleted_at DESC, table_name, key
