-- The keys of a table's rows that have changed since a snapshot.
SELECT DISTINCT key::{type} AS key
FROM totes.changes
WHERE relation = {table}::regclass
    AND transaction_id >= pg_snapshot_xmin({snapshot}::pg_snapshot)
    AND NOT pg_visible_in_snapshot(transaction_id, {snapshot}::pg_snapshot)
