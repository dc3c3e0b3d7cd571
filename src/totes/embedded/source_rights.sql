-- Privileges of the platform in totesys: CONNECT, USAGE and SELECT, also on future tables.
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO totes_ingest;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO totes_ingest;

-- A GRANT writes the table's row in pg_class, after which a capture from the log scans the table.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT has_table_privilege('totes_ingest', oid, 'SELECT')
    ) THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO totes_ingest;
    END IF;
END
$$;

ALTER DEFAULT PRIVILEGES FOR ROLE totesys_app, CURRENT_USER IN SCHEMA public
GRANT SELECT ON TABLES TO totes_ingest;
