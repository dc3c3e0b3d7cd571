-- The roles of totesys: the application, and the platform, which may only read.
DO $$
BEGIN
    IF to_regrole('totesys_app') IS NULL THEN
        CREATE ROLE totesys_app LOGIN;
    END IF;
    IF to_regrole('totes_ingest') IS NULL THEN
        CREATE ROLE totes_ingest LOGIN;
    END IF;
END
$$;
