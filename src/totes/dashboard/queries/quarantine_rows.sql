-- What waits in quarantine, the newest first.
SELECT batch, star_table, key, column_name, value, reason, valid_from
FROM totes.quarantine
WHERE released_at IS NULL AND superseded_at IS NULL
ORDER BY quarantine_id DESC
LIMIT %(limit)s
