-- The schema of the platform's own and its ledger of migrations; run each time, changes nothing.
CREATE SCHEMA IF NOT EXISTS totes;
COMMENT ON SCHEMA totes IS 'The platform''s bookkeeping.';

CREATE TABLE IF NOT EXISTS totes.migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE totes.migrations IS 'The changes of schema this warehouse has had.';
COMMENT ON COLUMN totes.migrations.name IS 'File name of the migration.';
COMMENT ON COLUMN totes.migrations.applied_at IS 'When it was applied.';

-- Those who may read the warehouse find their way in.
DO $$
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO totes_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I, totes TO totes_reader', current_schema());
END
$$;
