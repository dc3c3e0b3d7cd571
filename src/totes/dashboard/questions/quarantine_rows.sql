-- The versions in quarantine, the newest first.
SELECT batch, star_table, key, column_name, value, reason, valid_from
FROM quarantine
WHERE superseded_at IS NULL
ORDER BY quarantine_id DESC
LIMIT getvariable('row_limit');
