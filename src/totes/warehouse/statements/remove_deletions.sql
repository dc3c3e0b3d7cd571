-- Dimension rows that were inserted again are no longer recorded as deleted.
DELETE FROM totes.deleted_dimension_rows r
USING {staged} s
WHERE r.table_name = {name} AND r.key = {key_text} AND s._op = 'upsert' AND s.valid_to IS NULL
