-- Add the quarantined versions whose missing dimension row now exists to the slice, as rows of the
-- last batch. A version that was released several times is added once; one that is in the slice is
-- not added again.
INSERT INTO slice BY NAME
SELECT DISTINCT ON (q.key, q.valid_from)
    unnest(q.version), q.valid_from, 'upsert' AS _op, {batch} AS _batch, false AS _waits
FROM quarantine AS q
WHERE q.version IS NOT NULL
    AND q.released_at IS NULL
    AND NOT {waits}
    AND NOT EXISTS (
        SELECT 1 FROM slice AS s
        WHERE {key_text} = q.key AND s.valid_from = q.valid_from
    )
ORDER BY q.key, q.valid_from, q.batch DESC
