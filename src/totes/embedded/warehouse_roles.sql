-- The roles of the warehouse: the loader, readers, and the dashboard, which is a reader.
DO $$
BEGIN
    IF to_regrole('totes_loader') IS NULL THEN
        CREATE ROLE totes_loader LOGIN;
    END IF;
    IF to_regrole('totes_reader') IS NULL THEN
        CREATE ROLE totes_reader;
    END IF;
    IF to_regrole('totes_dashboard') IS NULL THEN
        CREATE ROLE totes_dashboard LOGIN IN ROLE totes_reader;
    END IF;
END
$$;
-- The loader checks foreign keys set-wise, not row by row (docs/decisions/0012).
GRANT SET ON PARAMETER session_replication_role TO totes_loader;
