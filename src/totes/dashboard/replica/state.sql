-- The warehouse's state: which server and database, its snapshot, its newest batch, and the layout
-- of each copied table. A change that the triggers do not record (TRUNCATE, a rewrite, a trigger
-- disabled for a bulk load) changes the layout; it is null without all triggers.
SELECT
    format(
        '%s/%s/%s/%s',
        (SELECT system_identifier FROM pg_control_system()),
        -- A standby cannot name its WAL file; its last restart point has the timeline.
        CASE
            WHEN pg_is_in_recovery()
                THEN (SELECT timeline_id::text FROM pg_control_checkpoint())
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8)
        END,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        current_schema()
    ) AS server,
    pg_current_snapshot()::text AS snapshot,
    newest.batch,
    newest.loaded_at,
    newest.captured_at,
    (SELECT captured_at FROM totes.batches ORDER BY batch LIMIT 1) AS history_begins,
    (SELECT greatest(data_to, checked_at) FROM totes.freshness) AS checked_at,
    (
        SELECT
            jsonb_object_agg(
                c.relname,
                (
                    SELECT
                        CASE
                            WHEN count(*) FILTER (WHERE t.tgenabled = 'A') = 3
                                THEN format(
                                        '%s/%s/%s',
                                        c.oid,
                                        c.relfilenode,
                                        string_agg(
                                            format('%s/%s', t.oid, t.xmin), ' ' ORDER BY t.oid
                                        )
                                    )
                        END
                    FROM pg_trigger AS t
                    WHERE t.tgrelid = c.oid AND t.tgfoid = 'totes.record_changes'::regproc
                )
            )
        FROM pg_class AS c
        WHERE c.oid = ANY({tables}::regclass[])
    ) AS layouts,
    (
        SELECT sum(greatest(reltuples, 0))::bigint
        FROM pg_class
        WHERE oid = ANY({tables}::regclass[])
    ) AS rows
FROM (SELECT) AS one
LEFT JOIN (
    SELECT batch, loaded_at, captured_at FROM totes.batches ORDER BY batch DESC LIMIT 1
) AS newest ON true
