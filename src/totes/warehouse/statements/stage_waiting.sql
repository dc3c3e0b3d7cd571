-- Stage the quarantined versions whose missing dimension row now exists. A version that was
-- released several times has several records in quarantine; it is staged once, and not at all if
-- this batch has staged it already.
INSERT INTO {staged}
SELECT DISTINCT ON (q.key, q.valid_from) version.*
FROM totes.quarantine AS q,
    jsonb_populate_record(
        NULL::{staged}, q.row || jsonb_build_object('valid_from', q.valid_from, '_op', 'upsert')
    ) AS version
WHERE q.star_table = {name}
    AND q.waits_for = {dimension_name}
    AND q.released_at IS NULL
    AND EXISTS (SELECT FROM {dimension} AS d WHERE d.{dimension_key} = q.value::{key_type})
    AND NOT EXISTS (
        SELECT FROM {staged} AS s
        WHERE {same_key} AND s.valid_from = version.valid_from
    )
ORDER BY q.key, q.valid_from, q.batch DESC
