-- Stage the quarantined versions whose missing dimension row has come, each once: released again and
-- again, one may wait several times, and may come with this batch, too, which is then its newest.
INSERT INTO {staged}
SELECT DISTINCT ON (q.key, q.valid_from) entered.*
FROM totes.quarantine q,
    jsonb_populate_record(
        NULL::{staged}, q.row || jsonb_build_object('valid_from', q.valid_from, '_op', 'upsert')
    ) AS entered
WHERE q.star_table = {name}
    AND q.waits_for = {dimension_name}
    AND q.released_at IS NULL
    AND EXISTS (SELECT FROM {dimension} d WHERE d.{dimension_key} = q.value::{key_type})
    AND NOT EXISTS (
        SELECT FROM {staged} known
        WHERE {same} AND known.valid_from = entered.valid_from
    )
ORDER BY q.key, q.valid_from, q.batch DESC
