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

GRANT SELECT ON totes.changes, totes.removed_changes TO totes_reader;
