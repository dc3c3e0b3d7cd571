-- Privileges of the platform in totesys: CONNECT, USAGE and SELECT, also on future tables.
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO totes_ingest;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO totes_ingest;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO totes_ingest;
ALTER DEFAULT PRIVILEGES FOR ROLE totesys_app, CURRENT_USER IN SCHEMA public
GRANT SELECT ON TABLES TO totes_ingest;
