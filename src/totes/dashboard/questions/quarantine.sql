-- The versions in quarantine, by reason.
SELECT star_table, column_name, reason, count(*) AS rows, min(valid_from) AS since
FROM quarantine
WHERE superseded_at IS NULL
GROUP BY 1, 2, 3
ORDER BY count(*) DESC, star_table, column_name, reason;
