-- The versions of one row that are in quarantine.
SELECT valid_from, column_name, value, reason
FROM quarantine
WHERE star_table = getvariable('fact')
    AND key = getvariable('key')::varchar
    AND superseded_at IS NULL
ORDER BY valid_from, quarantine_id;
