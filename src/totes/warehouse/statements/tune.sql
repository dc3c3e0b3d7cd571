-- For this transaction: memory for building indexes, which stay in the database's tablespace; storage
-- without moving heads; an error instead of rows that a policy hides; and, where the loader was
-- granted it, no check of foreign keys row by row: the load checks them set-wise itself.
SET LOCAL maintenance_work_mem = '128MB';
SET LOCAL default_tablespace = '';
SET LOCAL random_page_cost = 1.1;
SET LOCAL row_security = off;
SELECT set_config('session_replication_role', 'replica', true)
WHERE has_parameter_privilege('session_replication_role', 'SET')
