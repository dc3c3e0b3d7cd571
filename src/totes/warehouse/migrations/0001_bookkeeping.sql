-- What the platform remembers about the warehouse: batches, freshness, refused and deleted rows.

CREATE TABLE totes.batches (
    batch bigint PRIMARY KEY,
    generation integer NOT NULL,
    ingested text NOT NULL,
    captured_at timestamptz NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rows bigint NOT NULL
);
COMMENT ON TABLE totes.batches IS 'The batches loaded, without a gap: what makes each arrive once.';
COMMENT ON COLUMN totes.batches.batch IS 'Number of the batch.';
COMMENT ON COLUMN totes.batches.generation IS 'Generation of the processed data it came from.';
COMMENT ON COLUMN totes.batches.ingested IS 'SHA-256 of its manifest in the ingestion store.';
COMMENT ON COLUMN totes.batches.captured_at IS 'When the source was looked at: valid_from of its rows.';
COMMENT ON COLUMN totes.batches.loaded_at IS 'When it was loaded, by the warehouse''s clock.';
COMMENT ON COLUMN totes.batches.rows IS 'Star rows it carried, deletions among them.';

CREATE TABLE totes.checks (
    checked_at timestamptz NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.checks IS 'One row at most: when the source was last seen to hold nothing new.';
COMMENT ON COLUMN totes.checks.checked_at IS 'By the source''s clock.';
COMMENT ON COLUMN totes.checks.one IS 'Always true: the key of the only row.';

CREATE VIEW totes.freshness AS
SELECT
    max(captured_at) AS data_to,
    greatest(max(captured_at), (SELECT checked_at FROM totes.checks)) AS checked_at
FROM totes.batches;
COMMENT ON VIEW totes.freshness IS 'How fresh the warehouse is.';
COMMENT ON COLUMN totes.freshness.data_to IS 'Capture time of the newest batch loaded.';
COMMENT ON COLUMN totes.freshness.checked_at IS
    'The warehouse holds everything the source had committed at this moment.';

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
COMMENT ON TABLE totes.quarantine IS 'Versions set aside instead of loaded, each with the reason.';
COMMENT ON COLUMN totes.quarantine.quarantine_id IS 'A number without further meaning.';
COMMENT ON COLUMN totes.quarantine.batch IS 'The batch that brought the version.';
COMMENT ON COLUMN totes.quarantine.star_table IS 'The star table it belongs in.';
COMMENT ON COLUMN totes.quarantine.key IS 'Its natural key there, as text.';
COMMENT ON COLUMN totes.quarantine.column_name IS 'The column at fault.';
COMMENT ON COLUMN totes.quarantine.value IS 'What that column holds, as text.';
COMMENT ON COLUMN totes.quarantine.reason IS 'Why it was set aside.';
COMMENT ON COLUMN totes.quarantine.row IS 'The whole version.';
COMMENT ON COLUMN totes.quarantine.valid_from IS 'When the platform saw this version in totesys.';
COMMENT ON COLUMN totes.quarantine.waits_for IS
    'The dimension whose row is missing; the version enters by itself with that row.';
COMMENT ON COLUMN totes.quarantine.superseded_at IS
    'When a newer version was accepted, or the row was deleted in totesys.';
COMMENT ON COLUMN totes.quarantine.released_at IS
    'Capture time of the batch with which it entered the star after all.';

CREATE TABLE totes.deleted_dimension_rows (
    table_name text NOT NULL,
    key text NOT NULL,
    deleted_at timestamptz NOT NULL,
    batch bigint NOT NULL,
    PRIMARY KEY (table_name, key)
);
COMMENT ON TABLE totes.deleted_dimension_rows IS
    'Dimension rows that totesys has deleted; the star keeps them for the facts of their time.';
COMMENT ON COLUMN totes.deleted_dimension_rows.table_name IS 'The dimension.';
COMMENT ON COLUMN totes.deleted_dimension_rows.key IS 'Its key, as text.';
COMMENT ON COLUMN totes.deleted_dimension_rows.deleted_at IS 'When the deletion was seen.';
COMMENT ON COLUMN totes.deleted_dimension_rows.batch IS 'The batch that brought it.';

-- When the warehouse was last proven equal to its source.
CREATE TABLE totes.verifications (
    batch bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    equal boolean NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.verifications IS 'One row at most: what the last verify found.';
COMMENT ON COLUMN totes.verifications.batch IS 'The batch that was compared.';
COMMENT ON COLUMN totes.verifications.verified_at IS 'When, by the warehouse''s clock.';
COMMENT ON COLUMN totes.verifications.equal IS 'Whether source and warehouse were equal.';
COMMENT ON COLUMN totes.verifications.one IS 'Always true: the key of the only row.';

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
