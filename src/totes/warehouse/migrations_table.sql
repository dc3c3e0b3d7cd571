-- The schema `totes` and its table of migrations. Each `totes warehouse migrate` runs this file.
CREATE SCHEMA IF NOT EXISTS totes;
COMMENT ON SCHEMA totes IS 'The platform''s bookkeeping.';

CREATE TABLE IF NOT EXISTS totes.migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE totes.migrations IS 'The applied migrations.';
COMMENT ON COLUMN totes.migrations.name IS 'File name of the migration.';
COMMENT ON COLUMN totes.migrations.applied_at IS 'Time of the migration.';

DO $$
BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO totes_reader', current_database());
    EXECUTE format('GRANT USAGE ON SCHEMA %I, totes TO totes_reader', current_schema());
END
$$;
