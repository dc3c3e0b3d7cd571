-- Quarantine the versions that refer to a missing dimension row.
INSERT INTO quarantine BY NAME
SELECT
    {name} AS star_table, {key_text} AS key, s.valid_from, s._batch AS batch,
    (
        SELECT min(q.superseded_at) FROM quarantine AS q
        WHERE q.key = {key_text} AND q.valid_from = s.valid_from
    ) AS superseded_at,
    {version} AS version
FROM slice AS s
WHERE s._waits AND s._batch = {batch}
