-- Stage the rows of a slice that belong to a batch; with NULL, those of all batches.
CREATE OR REPLACE TEMPORARY TABLE staged AS
SELECT {columns}, s.valid_from, s.valid_to, s._op
FROM slice AS s
WHERE NOT s._waits AND s._batch = coalesce({batch}, s._batch)
