-- Set the end of versions that leave quarantine: the moment when a newer version superseded them.
UPDATE {staged} s SET valid_to = q.superseded_at
FROM {quarantine} AS q
WHERE s._op = 'upsert'
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.superseded_at IS NOT NULL
