-- Mark quarantined versions as released if they are staged now.
UPDATE {quarantine} q SET released_at = {captured_at}
FROM {staged} AS s
WHERE s._op = 'upsert'
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.released_at IS NULL
