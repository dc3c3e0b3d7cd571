-- The keys that never were in quarantine, in groups by the partitions of the table: the first and
-- last key, and the number of rows.
SELECT min(s.{first_key}), max(s.{first_key}), count(*)
FROM batch_rows AS s
WHERE {key_text} NOT IN (SELECT key FROM quarantined)
GROUP BY {partition}
ORDER BY 1
