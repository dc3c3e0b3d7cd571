-- Quarantine the rows that the contract rejected.
INSERT INTO quarantine BY NAME
SELECT
    {name} AS star_table, r.key, r.valid_from, r._batch AS batch,
    (
        SELECT min(q.superseded_at) FROM quarantine AS q
        WHERE q.key = r.key AND q.valid_from = r.valid_from
    ) AS superseded_at
FROM rejected AS r
WHERE r._batch = {batch}
