-- A version that is there already, or equals the one it would follow, adds nothing: unless one in
-- quarantine lies between the two.
DELETE FROM {staged} s
USING {star} f
WHERE s.valid_from = {moment} AND s._op = 'upsert'
    AND {same_as_fact}
    AND f.valid_from <= s.valid_from
    AND (f.valid_to IS NULL OR f.valid_to > s.valid_from)
    AND (
        f.valid_from = s.valid_from
        OR (
            ({of_fact}) IS NOT DISTINCT FROM ({of_staged})
            AND NOT EXISTS (
                SELECT FROM totes.quarantine q
                WHERE q.star_table = {name} AND q.key = {key_text}
                    AND q.released_at IS NULL
                    AND q.valid_from > f.valid_from AND q.valid_from < s.valid_from
            )
        )
    )
