-- The newest batches before which versions may be missing.
SELECT
    batch,
    captured_at,
    gap
FROM totes.batches
WHERE gap IS NOT NULL
ORDER BY batch DESC
LIMIT %(limit)s
