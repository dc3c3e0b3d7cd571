-- The batches that have rows in the slice, or rejected ones.
SELECT _batch FROM slice
UNION
SELECT _batch FROM rejected
ORDER BY 1
