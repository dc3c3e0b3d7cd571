-- Whether totes.changes has all changes since the state with this snapshot and newest batch.
SELECT
    pg_snapshot_xmax(pg_current_snapshot()) >= pg_snapshot_xmax(stored.snapshot)
    AND pg_snapshot_xmin(pg_current_snapshot()) >= pg_snapshot_xmin(stored.snapshot)
    AND NOT EXISTS (
        SELECT FROM totes.removed_changes
        WHERE transaction_id >= pg_snapshot_xmin(stored.snapshot)
    )
    AND (
        {batch}::bigint IS NULL
        OR EXISTS (
            SELECT FROM totes.batches WHERE batch = {batch} AND loaded_at = {loaded_at}
        )
    )
FROM (SELECT {snapshot}::pg_snapshot AS snapshot) AS stored
