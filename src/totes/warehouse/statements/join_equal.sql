-- Versions that touch and are equal, since what lay between them in quarantine has come: they become
-- one, as if nothing had ever been refused.
WITH joined AS (
    DELETE FROM {star} f
    USING {star} earlier, totes.quarantine released
    WHERE released.star_table = {name} AND released.released_at = {captured_at}
        AND {same_as_earlier} AND released.key = {fact_key_text}
        AND earlier.valid_to = f.valid_from
        AND ({of_earlier}) IS NOT DISTINCT FROM ({of_fact})
        AND NOT EXISTS (
            SELECT FROM totes.quarantine q
            WHERE q.star_table = {name} AND q.key = {fact_key_text}
                AND q.released_at IS NULL
                AND q.valid_from > earlier.valid_from AND q.valid_from < f.valid_from
        )
    RETURNING {joined_key}, f.valid_from, f.valid_to
)
UPDATE {star} f SET valid_to = joined.valid_to
FROM joined
WHERE {same_as_joined} AND f.valid_to = joined.valid_from
