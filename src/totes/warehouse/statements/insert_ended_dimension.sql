-- A dimension row that comes after its deletion: facts of its time may point at it.
WITH entered AS (
    INSERT INTO {star} ({columns})
    SELECT {columns}
    FROM {staged}
    WHERE valid_from = {moment} AND _op = 'upsert' AND valid_to IS NOT NULL
    ON CONFLICT ({key}) DO NOTHING
    RETURNING {key}
)
INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, s.valid_to, {batch}
FROM {staged} s JOIN entered e ON {same_as_entered} AND s.valid_from = {moment}
