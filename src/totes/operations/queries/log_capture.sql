-- What the capture from the log needs of the server and of the role.
-- max_wal_senders also limits the streams of standbys and backups.
SELECT
    pg_is_in_recovery() AS is_standby,
    current_setting('wal_level') AS wal_level,
    to_regrole('rds_replication') IS NOT NULL AS is_rds,
    r.rolsuper OR r.rolreplication
    OR coalesce(pg_has_role(to_regrole('rds_replication'), 'MEMBER'), false) AS may_replicate,
    (SELECT count(*) FROM pg_replication_slots) AS slots,
    current_setting('max_replication_slots')::int AS max_slots,
    (SELECT count(*) FROM pg_stat_replication) AS senders,
    current_setting('max_wal_senders')::int AS max_senders
FROM pg_roles AS r
WHERE r.rolname = current_user
