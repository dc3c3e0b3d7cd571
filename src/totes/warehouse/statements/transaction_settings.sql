-- Settings of the load's transaction: memory for building indexes; indexes go to the database's
-- default tablespace; costs for storage with fast random access; statistics from a small sample,
-- which autovacuum soon replaces; an error instead of rows hidden by a row-level security policy.
-- If the loader may set session_replication_role, PostgreSQL does not check foreign keys row by
-- row: the load checks them in sets.
SET LOCAL maintenance_work_mem = '128MB';
SET LOCAL default_tablespace = '';
SET LOCAL random_page_cost = 1.1;
SET LOCAL default_statistics_target = 20;
SET LOCAL row_security = off;
SELECT set_config('session_replication_role', 'replica', true)
WHERE has_parameter_privilege('session_replication_role', 'SET')
