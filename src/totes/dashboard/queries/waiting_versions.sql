-- The versions of one row that wait in quarantine.
SELECT valid_from, column_name, value, reason
FROM totes.quarantine
WHERE star_table = %(fact)s AND key = %(key)s
    AND released_at IS NULL AND superseded_at IS NULL
ORDER BY valid_from, quarantine_id
