-- Record deletions of dimension rows, unless they were inserted again; the rows themselves stay.
INSERT INTO totes.deleted_dimension_rows (table_name, key, deleted_at, batch)
SELECT {name}, {key_text}, min(s.valid_from), {batch}
FROM {staged} AS s JOIN {star} AS d ON {dimension_and_staged}
WHERE s._op = 'delete'
    AND NOT EXISTS (
        SELECT FROM {staged} AS later
        WHERE {later_and_staged} AND later.valid_from > s.valid_from
            AND later._op = 'upsert' AND later.valid_to IS NULL
    )
GROUP BY {key_text}
ON CONFLICT (table_name, key) DO NOTHING
