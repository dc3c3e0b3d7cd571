-- The tables with rows that have changed since a snapshot.
SELECT c.relname
FROM pg_class AS c
WHERE c.oid = ANY({tables}::regclass[])
    AND EXISTS (
        SELECT FROM totes.changes
        WHERE relation = c.oid
            AND transaction_id >= pg_snapshot_xmin({snapshot}::pg_snapshot)
            AND NOT pg_visible_in_snapshot(transaction_id, {snapshot}::pg_snapshot)
    )
