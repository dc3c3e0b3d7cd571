-- Mark older quarantined versions of the staged keys as superseded.
UPDATE {quarantine} q SET superseded_at = newer.valid_from
FROM (
    SELECT q.key, q.valid_from AS at, min(s.valid_from) AS valid_from
    FROM {staged} AS s
    JOIN
        {quarantine} AS q
        ON q.star_table = {name} AND q.key = {key_text} AND q.valid_from < s.valid_from
    GROUP BY q.key, q.valid_from
) AS newer
WHERE q.star_table = {name} AND q.key = newer.key AND q.valid_from = newer.at
    AND (q.superseded_at IS NULL OR q.superseded_at > newer.valid_from)
