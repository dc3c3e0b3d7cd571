-- A deleted dimension row stays, and its deletion is recorded; a row that came back is not deleted.
WITH back AS (
    DELETE FROM totes.deleted_dimension_rows r
    USING {staged} s
    WHERE r.table_name = {name} AND r.key = {key_text}
        AND s.valid_from = {moment} AND s._op = 'upsert' AND s.valid_to IS NULL
)
INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, s.valid_from, {batch}
FROM {staged} s JOIN {star} d ON {same_as_dimension}
WHERE s.valid_from = {moment} AND s._op = 'delete'
ON CONFLICT (table_name, key) DO NOTHING
