-- Mark older quarantined versions of the staged keys as superseded.
UPDATE totes.quarantine q SET superseded_at = newer.valid_from
FROM (
    SELECT q.quarantine_id, min(s.valid_from) AS valid_from
    FROM {staged} AS s
    JOIN
        totes.quarantine AS q
        ON q.star_table = {name} AND q.key = {key_text} AND q.valid_from < s.valid_from
    GROUP BY q.quarantine_id
) AS newer
WHERE q.quarantine_id = newer.quarantine_id
    AND (q.superseded_at IS NULL OR q.superseded_at > newer.valid_from)
