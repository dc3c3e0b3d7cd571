-- The bookkeeping: batches, freshness, quarantine, deleted dimension rows, verification, columns,
-- changed rows of the star, alerts and reports.

CREATE TABLE totes.batches (
    batch bigint PRIMARY KEY,
    generation integer NOT NULL,
    ingested text NOT NULL,
    captured_at timestamptz NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    rows bigint NOT NULL,
    gap text
);
CREATE INDEX batches_gap ON totes.batches (batch) WHERE gap IS NOT NULL;
COMMENT ON TABLE totes.batches IS 'The loaded batches, without gaps.';
COMMENT ON COLUMN totes.batches.batch IS 'Number of the batch.';
COMMENT ON COLUMN totes.batches.generation IS
'Generation of the processed data that it was loaded from.';
COMMENT ON COLUMN totes.batches.ingested IS
'SHA-256 of the batch''s manifest in the ingestion store.';
COMMENT ON COLUMN totes.batches.captured_at IS 'Capture time: valid_from of the batch''s rows.';
COMMENT ON COLUMN totes.batches.loaded_at IS 'Time of the load, by the warehouse''s clock.';
COMMENT ON COLUMN totes.batches.rows IS 'Number of star rows, including deletions.';
COMMENT ON COLUMN totes.batches.gap IS
'Why versions between the previous batch and this one may be missing; NULL if none are.';

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

-- The rows of the star that each transaction changed: copies of the star read them to stay current.

CREATE TABLE totes.changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    relation regclass NOT NULL,
    key text NOT NULL
);
CREATE INDEX changes_relation ON totes.changes (relation, transaction_id);
COMMENT ON TABLE totes.changes IS
'Rows inserted, updated or deleted in the star, for copies of it. Recent ones only.';
COMMENT ON COLUMN totes.changes.change_id IS 'A number without further meaning.';
COMMENT ON COLUMN totes.changes.transaction_id IS 'The transaction that changed the row.';
COMMENT ON COLUMN totes.changes.relation IS 'The table.';
COMMENT ON COLUMN totes.changes.key IS
'The row''s primary key, as text; a JSON array of several columns.';

CREATE TABLE totes.removed_changes (
    transaction_id xid8 NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.removed_changes IS
'One row at most: up to which transaction totes.changes has been cut off.';
COMMENT ON COLUMN totes.removed_changes.transaction_id IS
'The newest transaction whose changes were removed.';
COMMENT ON COLUMN totes.removed_changes.one IS 'Always true: the key of the only row.';

-- Runs with the owner's rights: a user who may change a star table needs none on this table.
CREATE FUNCTION totes.record_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO totes.changes (relation, key) SELECT %s, %s FROM changed',
        TG_RELID, TG_ARGV[0]
    );
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format(
            'INSERT INTO totes.changes (relation, key)'
            ' SELECT %1$s, %2$s FROM previous EXCEPT ALL SELECT %1$s, %2$s FROM changed',
            TG_RELID, TG_ARGV[0]
        );
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION totes.record_changes IS
'Records the keys of the rows that a statement changed; the argument is the key as an expression.';

CREATE TRIGGER totes_insert AFTER INSERT ON totes.quarantine
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION totes.record_changes('quarantine_id::text');
CREATE TRIGGER totes_update AFTER UPDATE ON totes.quarantine
REFERENCING OLD TABLE AS previous NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION totes.record_changes('quarantine_id::text');
CREATE TRIGGER totes_delete AFTER DELETE ON totes.quarantine
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION totes.record_changes('quarantine_id::text');
ALTER TABLE totes.quarantine ENABLE ALWAYS TRIGGER totes_insert;
ALTER TABLE totes.quarantine ENABLE ALWAYS TRIGGER totes_update;
ALTER TABLE totes.quarantine ENABLE ALWAYS TRIGGER totes_delete;

-- The state of alert rules, and which scheduled reports were sent.

CREATE TABLE totes.alerts (
    rule text PRIMARY KEY,
    condition text NOT NULL,
    state text NOT NULL CHECK (state IN ('ok', 'alert', 'unknown')),
    value text NOT NULL,
    since timestamptz NOT NULL,
    checked_at timestamptz NOT NULL
);
COMMENT ON TABLE totes.alerts IS
'The last check of each alert rule. Rules that are no longer checked are removed after a day.';
COMMENT ON COLUMN totes.alerts.rule IS 'The name of the rule.';
COMMENT ON COLUMN totes.alerts.condition IS 'When it alerts, in words.';
COMMENT ON COLUMN totes.alerts.state IS
'alert: the condition holds, and a message was sent; unknown: its value can''t be computed.';
COMMENT ON COLUMN totes.alerts.value IS
'The value in words, or the reason why it can''t be computed.';
COMMENT ON COLUMN totes.alerts.since IS 'When the state began, by the warehouse''s clock.';
COMMENT ON COLUMN totes.alerts.checked_at IS 'Time of the last check, by the warehouse''s clock.';

CREATE TABLE totes.sent_reports (
    report text PRIMARY KEY,
    due_at timestamptz NOT NULL,
    sent_at timestamptz
);
COMMENT ON TABLE totes.sent_reports IS 'The last due time of each scheduled report.';
COMMENT ON COLUMN totes.sent_reports.report IS
'The schedule and the way, such as weekly by mail, or weekly by topic.';
COMMENT ON COLUMN totes.sent_reports.due_at IS 'The due time; earlier ones need not be sent.';
COMMENT ON COLUMN totes.sent_reports.sent_at IS
'When it was sent, by the warehouse''s clock; NULL for the due time before the first report.';

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
