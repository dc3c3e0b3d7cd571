-- The rows of a range of keys that never were in quarantine.
CREATE OR REPLACE TEMPORARY TABLE slice AS
SELECT
    {columns}, s.valid_from, NULL::timestamptz AS valid_to, s._op, s._batch, false AS _waits
FROM batch_rows AS s
WHERE s.{first_key} BETWEEN {first} AND {last} AND {key_text} NOT IN (SELECT key FROM quarantined)
