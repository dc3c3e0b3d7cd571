-- The bookkeeping: batches, freshness, quarantine, deleted dimension rows, verification, columns.

CREATE TABLE totes.batches (
    batch bigint PRIMARY KEY,
    generation integer NOT NULL,
    ingested text NOT NULL,
    captured_at timestamptz NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rows bigint NOT NULL
);
COMMENT ON TABLE totes.batches IS 'The loaded batches, without gaps.';
COMMENT ON COLUMN totes.batches.batch IS 'Number of the batch.';
COMMENT ON COLUMN totes.batches.generation IS
'Generation of the processed data that it was loaded from.';
COMMENT ON COLUMN totes.batches.ingested IS
'SHA-256 of the batch''s manifest in the ingestion store.';
COMMENT ON COLUMN totes.batches.captured_at IS 'Capture time: valid_from of the batch''s rows.';
COMMENT ON COLUMN totes.batches.loaded_at IS 'Time of the load, by the warehouse''s clock.';
COMMENT ON COLUMN totes.batches.rows IS 'Number of star rows, including deletions.';

CREATE TABLE totes.checks (
    checked_at timestamptz NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.checks IS
'At most one row: when the source was last checked and had no changes.';
COMMENT ON COLUMN totes.checks.checked_at IS 'Time of the check, by the source''s clock.';
COMMENT ON COLUMN totes.checks.one IS 'Always true; limits the table to one row.';

CREATE VIEW totes.freshness AS
SELECT
    max(captured_at) AS data_to,
    greatest(max(captured_at), (SELECT checked_at FROM totes.checks)) AS checked_at
FROM totes.batches;
COMMENT ON VIEW totes.freshness IS 'How current the warehouse is.';
COMMENT ON COLUMN totes.freshness.data_to IS 'Capture time of the newest loaded batch.';
COMMENT ON COLUMN totes.freshness.checked_at IS
'The warehouse has all changes that were committed in the source at this time.';

CREATE TABLE totes.quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch bigint NOT NULL,
    star_table text NOT NULL,
    key text NOT NULL,
    column_name text,
    value text,
    reason text NOT NULL,
    row jsonb NOT NULL,
    valid_from timestamptz NOT NULL,
    waits_for text,
    superseded_at timestamptz,
    released_at timestamptz
);
CREATE INDEX quarantine_key ON totes.quarantine (star_table, key);
CREATE INDEX quarantine_batch ON totes.quarantine (batch);
CREATE INDEX quarantine_waiting ON totes.quarantine (waits_for, value)
WHERE waits_for IS NOT NULL AND released_at IS NULL;
COMMENT ON TABLE totes.quarantine IS 'Versions that were rejected, each with the reason.';
COMMENT ON COLUMN totes.quarantine.quarantine_id IS 'Surrogate key.';
COMMENT ON COLUMN totes.quarantine.batch IS 'The batch that has the version.';
COMMENT ON COLUMN totes.quarantine.star_table IS 'The star table that the version belongs to.';
COMMENT ON COLUMN totes.quarantine.key IS 'The natural key of its row, as text.';
COMMENT ON COLUMN totes.quarantine.column_name IS 'The column that was rejected.';
COMMENT ON COLUMN totes.quarantine.value IS 'The value of the column, as text.';
COMMENT ON COLUMN totes.quarantine.reason IS 'Why the version was rejected.';
COMMENT ON COLUMN totes.quarantine.row IS 'All columns of the version, as text.';
COMMENT ON COLUMN totes.quarantine.valid_from IS 'Capture time of the version.';
COMMENT ON COLUMN totes.quarantine.waits_for IS
'The dimension whose row is missing; the version is loaded when that row is.';
COMMENT ON COLUMN totes.quarantine.superseded_at IS
'Capture time of the newer version that was accepted, or of the deletion in the source.';
COMMENT ON COLUMN totes.quarantine.released_at IS
'Capture time of the batch with which the version was loaded.';

CREATE TABLE totes.deleted_dimension_rows (
    table_name text NOT NULL,
    key text NOT NULL,
    deleted_at timestamptz NOT NULL,
    batch bigint NOT NULL,
    PRIMARY KEY (table_name, key)
);
COMMENT ON TABLE totes.deleted_dimension_rows IS
'Dimension rows that were deleted in the source; they stay in the star, as facts refer to them.';
COMMENT ON COLUMN totes.deleted_dimension_rows.table_name IS 'The dimension.';
COMMENT ON COLUMN totes.deleted_dimension_rows.key IS 'The key of the row, as text.';
COMMENT ON COLUMN totes.deleted_dimension_rows.deleted_at IS 'Capture time of the deletion.';
COMMENT ON COLUMN totes.deleted_dimension_rows.batch IS 'The batch that has the deletion.';

CREATE TABLE totes.verifications (
    batch bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    equal boolean NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.verifications IS 'At most one row: the result of the last totes verify.';
COMMENT ON COLUMN totes.verifications.batch IS 'The batch that was compared.';
COMMENT ON COLUMN totes.verifications.verified_at IS
'Time of the comparison, by the warehouse''s clock.';
COMMENT ON COLUMN totes.verifications.equal IS 'Whether source and warehouse were equal.';
COMMENT ON COLUMN totes.verifications.one IS 'Always true; limits the table to one row.';

CREATE TABLE totes.star_columns (
    table_name text NOT NULL,
    column_name text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE totes.star_columns IS
'The columns of the star tables that the platform fills; others were added by users.';
COMMENT ON COLUMN totes.star_columns.table_name IS 'The star table.';
COMMENT ON COLUMN totes.star_columns.column_name IS 'The column.';

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
