-- The keys that are, or come into, quarantine: the order of their batches matters.
CREATE OR REPLACE TEMPORARY TABLE quarantined AS
SELECT key FROM quarantine
UNION
SELECT key FROM rejected
UNION
SELECT {key_text} FROM batch_rows AS s WHERE s._op = 'upsert' AND {waits}
