-- Keep only the newest changes: a copy that lacks more than these is faster to create again.
WITH removed AS (
    DELETE FROM totes.changes
    WHERE change_id <= (SELECT max(change_id) FROM totes.changes) - {kept_rows}
    RETURNING transaction_id
)

INSERT INTO totes.removed_changes AS r (transaction_id)
SELECT max(transaction_id) FROM removed
HAVING count(*) > 0
ON CONFLICT (one) DO UPDATE SET transaction_id = greatest(r.transaction_id, excluded.transaction_id)
