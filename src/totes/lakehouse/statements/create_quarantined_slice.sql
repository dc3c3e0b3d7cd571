-- The rows of the keys that are, or come into, quarantine.
CREATE OR REPLACE TEMPORARY TABLE slice AS
SELECT
    {columns}, s.valid_from, NULL::timestamptz AS valid_to, s._op, s._batch,
    s._op = 'upsert' AND {waits} AS _waits
FROM batch_rows AS s
WHERE {key_text} IN (SELECT key FROM quarantined)
