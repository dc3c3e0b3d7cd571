-- What is accepted now supersedes the older versions of its key in quarantine.
UPDATE totes.quarantine q SET superseded_at = s.valid_from
FROM {staged} s
WHERE s.valid_from = {moment}
    AND q.star_table = {name} AND q.key = {key_text} AND q.valid_from < s.valid_from
    AND (q.superseded_at IS NULL OR q.superseded_at > s.valid_from)
