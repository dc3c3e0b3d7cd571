-- The quarantined versions that come now are released.
UPDATE totes.quarantine q SET released_at = {captured_at}
FROM {staged} s
WHERE s.valid_from = {moment} AND s._op = 'upsert'
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.released_at IS NULL
