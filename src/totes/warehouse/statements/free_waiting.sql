-- Stage the quarantined versions whose missing dimension row has come.
INSERT INTO {staged}
SELECT entered.*
FROM totes.quarantine q,
    jsonb_populate_record(
        NULL::{staged}, q.row || jsonb_build_object('valid_from', q.valid_from, '_op', 'upsert')
    ) AS entered
WHERE q.star_table = {name}
    AND q.waits_for = {dimension_name}
    AND q.released_at IS NULL
    AND EXISTS (SELECT FROM {dimension} d WHERE d.{dimension_key} = q.value::{key_type})
