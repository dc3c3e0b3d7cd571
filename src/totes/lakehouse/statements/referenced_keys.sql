-- The keys that a column of new rows, or of waiting versions, refers to.
SELECT s.{column} AS value FROM batch_rows AS s
WHERE s._op = 'upsert' AND s.{column} IS NOT NULL
UNION
SELECT q.version.{column} FROM quarantine AS q
WHERE q.released_at IS NULL AND q.version.{column} IS NOT NULL
