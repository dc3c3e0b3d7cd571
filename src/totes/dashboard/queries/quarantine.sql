-- What waits in quarantine, by reason.
SELECT star_table, column_name, reason, count(*) AS rows, min(valid_from) AS since
FROM totes.quarantine
WHERE released_at IS NULL AND superseded_at IS NULL
GROUP BY 1, 2, 3
ORDER BY 4 DESC, 1, 2, 3
