-- Quarantine the versions whose row in one dimension does not exist.
WITH waiting AS (
    DELETE FROM {relation} s
    WHERE s.{column} IS NOT NULL
        AND NOT EXISTS (SELECT FROM {dimension} d WHERE d.{dimension_key} = s.{column})
    RETURNING s.*
)
INSERT INTO totes.quarantine (
    batch, star_table, key, column_name, value, reason, row, valid_from, waits_for, superseded_at
)
SELECT
    {batch}, {name}, {key}, {column_name}, w.{column}::text,
    format('waits for %s %s', {dimension_name}, w.{column}),
    (SELECT to_jsonb(version) FROM (SELECT {columns}) AS version),
    w.valid_from,
    {dimension_name},
    (
        SELECT min(q.superseded_at) FROM totes.quarantine q
        WHERE q.star_table = {name} AND q.key = {key} AND q.valid_from = w.valid_from
    )
FROM waiting w
