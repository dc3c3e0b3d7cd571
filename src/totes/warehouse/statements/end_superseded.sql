-- A version that was in quarantine ended when it was superseded there.
UPDATE {staged} s SET valid_to = q.superseded_at
FROM totes.quarantine q
WHERE s.valid_from = {moment}
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from = s.valid_from
    AND q.superseded_at IS NOT NULL
