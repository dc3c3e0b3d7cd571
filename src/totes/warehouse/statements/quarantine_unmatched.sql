-- Quarantine the versions that refer to a missing row of one dimension.
WITH unmatched AS (
    DELETE FROM {relation} s
    WHERE s.{column} IS NOT NULL
        AND NOT EXISTS (SELECT FROM {dimension} AS d WHERE d.{dimension_key} = s.{column})
    RETURNING s.*
)

INSERT INTO totes.quarantine (
    batch, star_table, key, column_name, value, reason, row, valid_from, waits_for, superseded_at
)
SELECT
    {batch}, {name}, {key}, {column_name}, u.{column}::text,
    format('waits for %s %s', {dimension_name}, u.{column}),
    (SELECT to_jsonb(version) FROM (SELECT {columns}) AS version),
    u.valid_from,
    {dimension_name},
    (
        SELECT min(q.superseded_at) FROM totes.quarantine AS q
        WHERE q.star_table = {name} AND q.key = {key} AND q.valid_from = u.valid_from
    )
FROM unmatched AS u
