-- Insert dimension rows that leave quarantine after their deletion, and record the deletion: facts
-- of that time may refer to them.
WITH inserted AS (
    INSERT INTO {star} ({columns})
    SELECT DISTINCT ON ({key}) {columns}
    FROM {staged}
    WHERE _op = 'upsert' AND valid_to IS NOT NULL
    ORDER BY {key}, valid_from DESC
    ON CONFLICT ({key}) DO NOTHING
    RETURNING {key}
)

INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, max(s.valid_to), {batch}
FROM {staged} AS s JOIN inserted AS i ON {inserted_and_staged}
WHERE s._op = 'upsert'
GROUP BY {key_text}
