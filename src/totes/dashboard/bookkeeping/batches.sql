-- The newest batches, and the seconds from capture to load of each.
SELECT
    batch,
    captured_at,
    loaded_at,
    rows,
    round(extract(EPOCH FROM loaded_at - captured_at), 3) AS lag_seconds
FROM totes.batches
ORDER BY batch DESC
LIMIT %(limit)s
