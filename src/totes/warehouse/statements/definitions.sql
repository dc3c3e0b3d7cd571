-- What must be taken down to fill tables at full speed, and how to put it up again: foreign keys
-- from and to them, primary keys, indexes. In the order to put it up.
SELECT table_name, take_down, put_up
FROM (
    SELECT
        c.conrelid::regclass::text AS table_name,
        format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) AS take_down,
        format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s',
            c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid)
        ) AS put_up,
        c.contype = 'f' AS is_reference
    FROM pg_constraint c
    WHERE c.contype IN ('p', 'f')
        AND (c.conrelid = ANY({tables}::regclass[]) OR c.confrelid = ANY({tables}::regclass[]))
    UNION ALL
    SELECT
        i.indrelid::regclass::text,
        format('DROP INDEX %s', i.indexrelid::regclass),
        pg_get_indexdef(i.indexrelid),
        false
    FROM pg_index i
    WHERE i.indrelid = ANY({tables}::regclass[])
        AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
) AS definition
ORDER BY is_reference, table_name, put_up
