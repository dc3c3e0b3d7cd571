-- The start of each generation after the first: a replay, which rebuilt the star from the lake.
SELECT min(loaded_at) AS replayed_at
FROM totes.batches
WHERE generation > 1
GROUP BY generation
ORDER BY generation
