-- The roles around the warehouse: the loader, and those who may only read, the dashboard one.
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
